"""Cityscapes, fine annotations: the files that Detectron2 and cityscapesscripts want, from the polygons.

They are what cityscapesscripts' createTrainIdLabelImgs and createPanopticImgs make. Label images that the
download has stay as they are.
"""

import contextlib
import io
import json
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
from cityscapesscripts.helpers.labels import trainId2label

from effps_solo.data.conversion import Job, convert_all
from effps_solo.data.importers.classes import ClassList
from effps_solo.data.importers.files import SourceError, files_below
from effps_solo.data.importers.run import Imported, summary
from effps_solo.structures.panoptic_png import encode_segment_ids
from effps_solo.structures.segment_measures import measured_segments
from effps_solo.utils.atomic import write_atomically
from effps_solo.utils.image_io import open_image

from .cityscapes_labels import IMAGE_SUFFIX, LABEL_SUFFIXES, label_images
from .family import Family, require_same_size

_INSTANCES_OF_LABEL = 1000
_NUM_CLASSES = 19
_FORMAT = "1"  # raised with every change that alters a PNG or its segments_info
_POLYGONS, *_LABELS = LABEL_SUFFIXES


@lru_cache(maxsize=None)
def cityscapes_classes() -> ClassList:
    """The evaluated classes in the order of their trainIds; their labels are the label ids."""
    entries = [
        {
            "id": label.id,
            "name": label.name,
            "isthing": int(label.hasInstances),
            "color": list(label.color),
            "labels": [label.id],
        }
        for label in map(trainId2label.get, range(_NUM_CLASSES))
    ]
    return ClassList(entries, "cityscapesscripts.helpers.labels")


def split_instance_id(value: int) -> Tuple[int, bool]:
    """(label id, whether it is one object) of an instance id.

    An object has 1000 times its label id + a number; a group of things, and stuff, the label id.
    """
    is_object = value >= _INSTANCES_OF_LABEL
    return (value // _INSTANCES_OF_LABEL if is_object else value), is_object


def prepare(folder: Path, split: str, num_workers: int) -> Imported:
    """See ``Family.prepare``."""
    target = folder / "gtFine" / f"cityscapes_panoptic_{split}.json"
    target.unlink(missing_ok=True)
    images = folder / "leftImg8bit" / split
    stems, jobs = [], []
    for polygons in files_below(str(folder / "gtFine" / split), f"*_{_POLYGONS}"):
        stem = polygons.name.removesuffix(f"_{_POLYGONS}")
        image = images / polygons.parent.name / f"{stem}_{IMAGE_SUFFIX}"
        output = f"{target.stem}/{stem}_gtFine_panoptic.png"
        if not all(path.is_file() for path in _label_files(polygons)):
            (target.parent / output).unlink(missing_ok=True)  # so that the job is done anew
        files = (str(polygons), str(image))
        stems.append(stem)
        jobs.append(Job(output, files, files))
    results = convert_all(
        partial(_convert, cityscapes_classes()),
        jobs,
        journal=target.parent / f".cityscapes_panoptic_{split}.journal",
        settings=_FORMAT,
        num_workers=num_workers,
        title=split,
    )
    _write_json(target, stems, results)
    return summary(cityscapes_classes(), results)


def _write_json(target: Path, stems: List[str], results: List[Dict[str, Any]]) -> None:
    """As createPanopticImgs writes it, whose image names are those of no file."""
    content: Dict[str, List[Any]] = {"images": [], "annotations": []}
    for stem, result in zip(stems, results):
        size = {"height": result["height"], "width": result["width"]}
        content["images"].append({"id": stem, "file_name": f"{stem}_gtFine_{IMAGE_SUFFIX}", **size})
        annotation = {"image_id": stem, "file_name": f"{stem}_gtFine_panoptic.png"}
        content["annotations"].append({**annotation, "segments_info": result["segments_info"]})
    content["categories"] = cityscapes_classes().categories
    write_atomically(target, json.dumps(content).encode())


def _label_files(polygons: Path) -> List[Path]:
    stem = polygons.name.removesuffix(_POLYGONS)
    return [polygons.with_name(f"{stem}{suffix}") for suffix in _LABELS]


def _convert(classes: ClassList, task: Tuple[str, str], output: Path) -> Dict[str, Any]:
    polygons = Path(task[0])
    _write_missing_labels(polygons)
    path = _label_files(polygons)[-1]
    with open_image(path) as image:
        instances = np.asarray(image, dtype=np.int32)
    size = require_same_size(instances, str(path), task[1])
    segments: Dict[int, Dict[str, int]] = {}
    for value in np.unique(instances).tolist():
        label, is_object = split_instance_id(value)
        category = classes.find(label)
        if category is not None:
            crowd = int(category["isthing"] and not is_object)
            segments[value] = {"category_id": category["id"], "iscrowd": crowd}
    ids = np.where(np.isin(instances, list(segments)), instances, 0)
    write_atomically(output, encode_segment_ids(ids))
    return {**size, "segments_info": measured_segments(ids, segments), "notes": {}}


def _write_missing_labels(polygons: Path) -> None:
    if all(path.is_file() for path in _label_files(polygons)):
        return
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            contents = label_images(polygons.read_text(encoding="utf-8"))
    except SystemExit as error:  # of a label that cityscapesscripts does not know
        raise SourceError(f"{polygons} holds a label that is none of Cityscapes") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(f"{polygons} holds no polygons that can be drawn ({error!r})") from error
    for path, content in zip(_label_files(polygons), contents):
        if not path.is_file():
            write_atomically(path, content)


CITYSCAPES = Family(
    name="cityscapes",
    title="Cityscapes",
    folder="cityscapes",
    splits={"train": "train", "val": "val"},
    dataset="cityscapes_fine_panoptic_{split}",
    images="leftImg8bit/{split}",
    panoptic_png="gtFine/cityscapes_panoptic_{split}",
    panoptic_json="gtFine/cityscapes_panoptic_{split}.json",
    script="prepare_cityscapes.py",
    prepare=prepare,
    needs=("gtFine/{native}",),
)
