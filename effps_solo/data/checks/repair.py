"""Repairs a panoptic JSON where its PNGs and images give the right value."""

import copy
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Tuple

from effps_solo.data.datasets.files import read_json_object
from effps_solo.utils.atomic import write_atomically
from effps_solo.utils.errors import UserError

from .images import ImageJob, ImageResult, measured_by_id
from .plan import JSON_KEYS
from .run import CheckedDataset


def repair_json(dataset: CheckedDataset, output: str) -> Dict[str, int]:
    """Write the repaired JSON of a checked data set to a new file: what was changed -> how often.

    Raises:
        UserError: ``output`` exists or cannot be written.
        DatasetError: the data set's JSON cannot be read.
    """
    content = read_json_object(dataset.plan.source.panoptic_json, JSON_KEYS)
    repaired, changes = repaired_content(content, dataset.plan.jobs, dataset.results)
    _write_new(output, json.dumps(repaired))
    return dict(changes)


def repaired_content(
    content: Dict[str, Any], jobs: List[ImageJob], results: List[ImageResult]
) -> Tuple[Dict[str, Any], "Counter[str]"]:
    """A repaired copy of a panoptic JSON, and what was changed how often.

    Areas and boxes are those of the pixels, segments without area and pixels go, as do equal copies
    of entries; a missing ``iscrowd`` becomes 0; an image's size is that of its file, where
    the PNG has the same. Everything else stays.
    """
    content = copy.deepcopy(content)
    changes: "Counter[str]" = Counter()
    sizes: Dict[str, Tuple[int, int]] = {}
    for job, result in zip(jobs, results):
        if result.image_size is not None and result.image_size == result.png_size:
            sizes[job.image_name] = result.image_size
        if job.annotation_index is not None:
            annotation = content["annotations"][job.annotation_index]
            if isinstance(annotation.get("segments_info"), list):
                _repair_segments(annotation, job, result, changes)
    for image in content["images"]:
        height, width = sizes.get(str(image.get("file_name")), (None, None))
        if height and (image.get("height"), image.get("width")) != (height, width):
            image.update(height=height, width=width)
            changes["image size"] += 1
    for key in ("images", "annotations"):
        content[key] = _without_copies(content[key], f"copy in '{key}'", changes)
    return content, +changes  # without zeros


def _repair_segments(
    annotation: Dict[str, Any], job: ImageJob, result: ImageResult, changes: "Counter[str]"
) -> None:
    fits = result.png_size == (result.image_size or job.size)
    drawn, kept = measured_by_id(result.measures), []
    for segment in annotation["segments_info"]:
        if isinstance(segment, dict):
            has_id = isinstance(segment.get("id"), int)
            is_drawn = has_id and segment["id"] in drawn
            if result.measures and has_id and not is_drawn and segment.get("area") == 0:
                changes["empty segment"] += 1
                continue
            area, box = drawn[segment["id"]] if is_drawn and fits else (None, None)
            truth = {"iscrowd": segment.get("iscrowd", 0), "area": area, "bbox": box}
            for key, value in truth.items():
                if value is not None and segment.get(key) != value:
                    segment[key] = value
                    changes[key] += 1
        kept.append(segment)
    annotation["segments_info"] = _without_copies(kept, "copy of a segment", changes)


def _without_copies(entries: List[Any], what: str, changes: "Counter[str]") -> List[Any]:
    """The entries without those that equal an earlier one."""
    kept: Dict[str, Any] = {}
    for entry in entries:
        kept.setdefault(json.dumps(entry, sort_keys=True), entry)
    changes[what] += len(entries) - len(kept)
    return list(kept.values())


def _write_new(path: str, text: str) -> None:
    if os.path.lexists(path):
        raise UserError(f"--fix '{path}' exists already; name a new file")
    try:
        write_atomically(Path(path), text.encode())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
