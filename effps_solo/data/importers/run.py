"""From a source of annotations to a data set in COCO panoptic layout with its description."""

import json
import os
import shutil
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import yaml

from effps_solo.data.conversion import Job, convert_all
from effps_solo.structures.panoptic_png import encode_segment_ids
from effps_solo.utils.atomic import write_atomically

from .canvas import Counts, SegmentCanvas
from .classes import ClassList
from .files import SizeError, SourceError, image_size, stored_size
from .source import Item, Source

_FORMAT = "2"  # raised with every change that alters a PNG or its segments_info


@dataclass(frozen=True)
class Imported:
    """Summary of an imported split.

    Attributes:
        num_images: in the split.
        num_segments: by class name, in the order of the classes.
        notes: what was left out of account besides annotations, and how often.
        counts: of annotations.
    """

    num_images: int
    num_segments: Dict[str, int]
    notes: Counter
    counts: Counts = field(default_factory=Counts)


def import_split(
    source: Source, items: Sequence[Item], folder: Path, split: str, num_workers: int
) -> Imported:
    """Write ``panoptic_<split>`` and ``panoptic_<split>.json`` below ``folder``.

    What is there and up to date stays; see :func:`convert_all`.

    Raises:
        UserError: annotations cannot be used. There is no JSON then.
    """
    target = folder / f"panoptic_{split}.json"
    target.unlink(missing_ok=True)
    names = [os.path.relpath(item.image, source.images) for item in items]
    _check_names(names, split, source.images)
    pngs = [str(Path(name).with_suffix(".png")) for name in names]
    jobs = [
        Job(f"panoptic_{split}/{png}", (item.image, *item.sources), (item.image, item.annotation))
        for png, item in zip(pngs, items)
    ]
    results = convert_all(
        partial(_convert, source.draw, source.classes, source.crowds_as_objects),
        jobs,
        journal=folder / f".panoptic_{split}.journal",
        settings=f"{_FORMAT} {source.classes!r} {source.crowds_as_objects}",
        num_workers=num_workers,
        title=split,
    )
    write_panoptic_json(target, names, pngs, results, source.classes)
    return summary(source.classes, results)


def write_panoptic_json(
    target: Path,
    names: Sequence[str],
    pngs: Sequence[str],
    results: Sequence[Mapping[str, Any]],
    classes: ClassList,
) -> None:
    """Write the JSON of a split; images are numbered from 1.

    Args:
        names: paths of the images below their folder.
        pngs: paths of their panoptic PNGs below theirs.
        results: height, width and segments_info of each.
    """
    content: Dict[str, List[Any]] = {"images": [], "annotations": []}
    for image_id, (name, png, result) in enumerate(zip(names, pngs, results), 1):
        size = {"height": result["height"], "width": result["width"]}
        content["images"].append({"id": image_id, "file_name": Path(name).as_posix(), **size})
        annotation = {"image_id": image_id, "file_name": Path(png).as_posix()}
        content["annotations"].append({**annotation, "segments_info": result["segments_info"]})
    content["categories"] = classes.categories
    write_atomically(target, json.dumps(content).encode())


def copy_images(source: Source, items: Sequence[Item], output: Path, split: str) -> str:
    """Copy the images of a split into its folder in the output, those that are not there yet.

    Returns:
        the folder; that of the images if it is this one.
    """
    folder = output / split
    if Path(source.images).resolve() == folder.resolve():
        return source.images
    (
        output / f".{split}.journal"
    ).touch()  # so that later imports do not take the copies for originals
    for item in items:
        target = folder / os.path.relpath(item.image, source.images)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.is_file() or os.stat(target).st_mtime_ns != os.stat(item.image).st_mtime_ns:
            shutil.copy2(item.image, target)
    return str(folder)


def write_description(
    folder: Path, name: str, split: str, images: str, *, relative: bool = False
) -> Path:
    """Add a split to the description ``folder``/``name``.yaml, or change it; returns the path.

    Args:
        images: the image folder of the split; one outside of ``folder`` is written with its whole path.
        relative: it, too, as seen from ``folder``.

    Raises:
        SourceError: the file is there, but not one of this function.
    """
    path = folder / f"{name}.yaml"
    description: Any = {"name": name, "splits": {}}
    if path.is_file():
        description = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(description, dict) or not isinstance(description.get("splits"), dict):
            raise SourceError(f"{path} is no description of an import; choose another --name")
    absolute, root = os.path.abspath(images), os.path.abspath(folder)
    below = os.path.commonpath([absolute, root]) == root
    image_folder = os.path.relpath(absolute, root) if below or relative else absolute
    if "$" in image_folder:
        raise SourceError(
            f"--images '{images}' has a $, which stands for a variable in {path}; rename the folder"
        )
    # Braces hold fields in a description.
    image_folder = image_folder.replace("{", "{{").replace("}", "}}")
    description["splits"][split] = {"images": image_folder}
    text = yaml.safe_dump(description, sort_keys=False, allow_unicode=True)
    write_atomically(path, text.encode())
    return path


def _convert(
    draw: Any, classes: ClassList, crowds_as_objects: bool, task: Tuple[str, Any], output: Path
) -> Dict[str, Any]:
    image, annotation = task
    height, width = image_size(image)
    canvas = SegmentCanvas(height, width, crowds_as_objects=crowds_as_objects)
    if classes.background is not None:
        canvas.fill(classes.background)
    try:
        draw(annotation, classes, canvas)
    except SizeError as error:
        raise SizeError(f"{error}{_exif_hint(image)}") from error
    ids, segments_info = canvas.result()
    write_atomically(output, encode_segment_ids(ids))
    size = {"height": height, "width": width}
    found = {"segments_info": segments_info, "notes": canvas.notes, "counts": vars(canvas.counts)}
    return {**size, **found}


def _exif_hint(image: str) -> str:
    stored = stored_size(image)
    if stored is None:
        return ""
    return (
        f" (stored as {stored[1]}x{stored[0]} with an EXIF orientation, which turns it; save it upright, or "
        "without the orientation if that is how it was annotated)"
    )


def _check_names(names: Sequence[str], split: str, images: str) -> None:
    """The PNGs are named after the images: each must be another, and below its folder."""
    outside = [name for name in names if os.path.isabs(name) or Path(name).parts[:1] == ("..",)]
    if outside:
        raise SourceError(
            f"split {split}: the image {os.path.normpath(os.path.join(images, outside[0]))} lies outside "
            f"--images '{images}'; name a folder above all images"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise SourceError(
            f"split {split}: several annotations are of the image {twice[0]}; keep one"
        )
    stems = Counter(os.path.splitext(name)[0] for name in names)
    twice = [stem for stem, count in stems.items() if count > 1]
    if twice:
        raise SourceError(
            f"split {split}: several images are named {twice[0]} but for their suffix; rename them"
        )
    if not names:
        raise SourceError(f"split {split} has no annotated image")


def summary(classes: ClassList, results: Sequence[Mapping[str, Any]]) -> Imported:
    """Of a split, from the ``results`` of its images: "segments_info", "notes" and, if any, "counts"."""
    segments = Counter(s["category_id"] for result in results for s in result["segments_info"])
    notes: Counter = Counter()
    counts = Counts()
    for result in results:
        notes.update(result["notes"])
        counts.add(result.get("counts", {}))
    by_class = {category["name"]: segments[category["id"]] for category in classes.categories}
    return Imported(len(results), by_class, notes, counts)
