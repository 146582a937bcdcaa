"""Polygons in the format of Cityscapes: a ``*_polygons.json`` for every image.

What comes later in a file lies over what comes before, as in Cityscapes' own scripts. A label that
ends in "group", such as "cargroup", is a group of the things "car".
"""

from collections import Counter
from typing import Any, Dict, List

from .classes import ClassList, Label, label_key
from .drawing import FILE_ORDER, ShapeReader
from .files import files_below, read_lists
from .image_index import ImageIndex
from .rasterize import CENTERS
from .source import AnnotatedImage, Export, Item, Shape, Size, Source
from .splits import by_folder

_PATTERN = "*_polygons.json"
_SUFFIXES = ("_polygons", "_gtFine", "_gtCoarse")
_GROUP = "group"


def find(annotations: str, images: str = "") -> Export:
    """
    Args:
        annotations: the folder of the files, e.g. gtFine/train.
        images: the folder of the images, e.g. leftImg8bit/train; NAME_leftImg8bit.png and NAME.jpg
            alike belong to NAME_gtFine_polygons.json and to NAME_polygons.json; "": that of the
            annotations.

    Raises:
        SourceError: no file, or one without an image.
    """
    index, items = ImageIndex(images or annotations), {}
    for path in files_below(annotations, _PATTERN):
        relative = str(path.relative_to(annotations))
        stem = relative.removesuffix(path.suffix)
        for suffix in _SUFFIXES:
            stem = stem.removesuffix(suffix)
        items[relative] = Item(index.find(stem, str(path)), (str(path),), str(path))
    return Export(
        images=index.folder,
        splits=by_folder(items),
        draw=READER.draw,
        overlap=READER.overlap,
        count_labels=lambda: count_labels([item.annotation for item in items.values()]),
    )


def source(annotations: str, images: str, classes: ClassList) -> Source:
    """The annotations of one split with known classes; see :func:`find`."""
    export = find(annotations, images)
    items = [item for part in export.splits.values() for item in part]
    return Source(export.images, items, classes, export.draw)


def count_labels(paths: List[str]) -> List[Label]:
    """How often each label occurs; a group of what occurs itself is no label of its own.

    Raises:
        SourceError: a file cannot be read.
    """
    labels: Counter = Counter()
    for path in paths:
        objects = read_lists(path, "objects")["objects"]
        labels.update(label_key(o.get("label")) for o in objects if not o.get("deleted"))
    groups = {label for label in labels if label.removesuffix(_GROUP) in labels.keys() - {label}}
    return [Label(n, count) for n, count in labels.most_common() if n and n not in groups]


def read(path: str, size: Size) -> AnnotatedImage:
    """See ``ShapeReader.read``."""
    content = read_lists(path, "objects")
    shapes = [_shape(f"object {k}", one) for k, one in enumerate(content["objects"])]
    return AnnotatedImage(path, (content.get("imgHeight"), content.get("imgWidth")), shapes)


def _shape(name: str, one: Dict[str, Any]) -> Shape:
    label = label_key(one.get("label"))
    crowd_of: Any = label.removesuffix(_GROUP) if label.endswith(_GROUP) else None
    left_out = "" if label else "without a label"
    return Shape(
        name,
        label,
        "polygon",
        one.get("polygon", []),
        crowd_of=crowd_of or None,
        left_out="deleted" if one.get("deleted") else left_out,
    )


READER = ShapeReader(read, FILE_ORDER, CENTERS)
