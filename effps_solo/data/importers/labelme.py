"""Polygons drawn with labelme and its kin (AnyLabeling, X-AnyLabeling): a JSON file for every image.

Shapes of one label and one group_id are one object; the flag "iscrowd" makes a shape part of a group.
"""

import contextlib
import os
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List

from .classes import Label, label_key
from .drawing import LATER_ON_TOP, ShapeReader
from .files import ForeignFileError, SourceError, files_below, read_lists
from .image_index import ImageIndex, common_folder, is_below
from .rasterize import CENTERS
from .source import AnnotatedImage, Export, Item, Shape, Size
from .splits import by_folder

# shape_type -> kind; of the turned ones labelme writes four corners.
_KINDS = {
    "rectangle": "rectangle",
    "oriented_rectangle": "rectangle",
    "rotation": "rectangle",
    "quadrilateral": "polygon",
    "mask": "png",
}


def find(annotations: str, images: str = "") -> Export:
    """
    Args:
        annotations: the folder of the JSON files.
        images: the folder of the images, which have the names of the JSON files or those that these
            tell; "": that of the annotations.

    Raises:
        SourceError: no file, or one without an image.
    """
    index, items = ImageIndex(images or annotations), {}
    others: List[str] = []
    for path in files_below(annotations, "*.json"):
        relative = path.relative_to(annotations)
        try:
            image = _find_image(path, relative, index, anywhere=not images)
        except ForeignFileError:
            others.append(str(relative))
            continue
        items[str(relative)] = Item(image, (str(path),), str(path))
    if not items:
        raise ForeignFileError(f"--annotations '{annotations}' holds no JSON file of labelme")
    found = [item.image for item in items.values()]
    return Export(
        images=index.folder if images else common_folder(found, index.folder),
        splits=by_folder(items),
        draw=READER.draw,
        overlap=READER.overlap,
        count_labels=lambda: count_labels([item.annotation for item in items.values()]),
        remarks=(f"no files of labelme: {', '.join(others)}",) if others else (),
    )


def _find_image(path: Path, relative: Path, index: ImageIndex, anywhere: bool) -> str:
    """The image of a JSON file. Raises ForeignFileError when the file has no shapes."""
    stem = str(relative.with_suffix(""))
    found = index.at(stem)
    if found is not None:
        return found
    content = read_lists(str(path), "shapes")
    told = str(content.get("imagePath") or "").replace("\\", "/")
    beside = os.path.normpath(os.path.join(path.parent, told))
    if told and os.path.isfile(beside) and (anywhere or is_below(beside, index.folder)):
        return beside
    try:
        return index.find(stem, str(path))
    except SourceError:
        with contextlib.suppress(SourceError):
            return index.find_file(os.path.basename(told), str(path))
        raise


def count_labels(paths: List[str]) -> List[Label]:
    """The labels that occur, the most frequent first. Raises SourceError when a file cannot be read."""
    counts: Counter = Counter()
    for path in paths:
        counts.update(
            label_key(shape.get("label")) for shape in read_lists(path, "shapes")["shapes"]
        )
    return [Label(name, count) for name, count in counts.most_common() if name]


def read(path: str, size: Size) -> AnnotatedImage:
    """See ``ShapeReader.read``."""
    content = read_lists(path, "shapes")
    shapes = [_shape(f"shape {k}", one) for k, one in enumerate(content["shapes"])]
    return AnnotatedImage(path, (content.get("imageHeight"), content.get("imageWidth")), shapes)


def _shape(name: str, one: Dict[str, Any]) -> Shape:
    kind = str(one.get("shape_type") or "polygon")
    kind = _KINDS.get(kind, kind)
    points, group, flags = one.get("points", []), one.get("group_id"), one.get("flags")
    return Shape(
        name,
        one.get("label"),
        kind,
        (one.get("mask"), points) if kind == "png" else points,
        object_key=None if group is None else f"group {group}",
        crowd=bool(isinstance(flags, dict) and flags.get("iscrowd")),
        left_out="" if label_key(one.get("label")) else "without a label",
    )


READER = ShapeReader(read, LATER_ON_TOP, CENTERS)
