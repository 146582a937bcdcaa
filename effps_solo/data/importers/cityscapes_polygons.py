"""Polygons in the format of Cityscapes: a ``*_polygons.json`` for every image.

What comes later in a file lies over what comes before, as in Cityscapes' own scripts. A label that
ends in "group", such as "cargroup", is a group of the things "car".
"""

from collections import Counter
from typing import Any, Tuple

from .canvas import SegmentCanvas
from .classes import ClassList
from .files import ImageIndex, SourceError, files_below, read_lists, require_size
from .source import Item, Source

_PATTERN = "*_polygons.json"
_SUFFIXES = ("_polygons", "_gtFine", "_gtCoarse")
_GROUP = "group"
_MIN_POINTS = 3
_BROKEN = (TypeError, ValueError)


def cityscapes_polygons_source(annotations: str, images: str, classes: ClassList) -> Source:
    """
    Args:
        annotations: the folder of the files, e.g. gtFine/train.
        images: the folder of the images, e.g. leftImg8bit/train; NAME_leftImg8bit.png and NAME.jpg
            alike belong to NAME_gtFine_polygons.json and to NAME_polygons.json.
        classes: their labels are those of the polygons.

    Raises:
        SourceError: no file, or one without an image.
    """
    index, items = ImageIndex(images), []
    for path in files_below(annotations, _PATTERN):
        stem = str(path.relative_to(annotations).with_suffix(""))
        for suffix in _SUFFIXES:
            stem = stem.removesuffix(suffix)
        items.append(Item(index.find(stem, str(path)), (str(path),), str(path)))
    return Source(images, items, classes, draw)


def cityscapes_labels(annotations: str) -> Counter:
    """How often each label occurs; a group of what occurs itself is no label of its own.

    Raises:
        SourceError: a file cannot be read.
    """
    labels: Counter = Counter()
    for path in files_below(annotations, _PATTERN):
        labels.update(str(one.get("label")) for one in read_lists(str(path), "objects")["objects"])
    groups = {label for label in labels if label.removesuffix(_GROUP) in labels.keys() - {label}}
    return Counter({label: count for label, count in labels.items() if label not in groups})


def draw(path: str, classes: ClassList, canvas: SegmentCanvas) -> None:
    """See ``Source.draw``."""
    content = read_lists(path, "objects")
    require_size(canvas, content.get("imgHeight"), content.get("imgWidth"), path)
    for k, one in enumerate(content["objects"]):
        if one.get("deleted"):
            continue
        polygon = one.get("polygon", ())
        if len(polygon) < _MIN_POINTS:
            canvas.notes["polygons of less than three points"] += 1
            continue
        category, crowd = _category(one.get("label"), classes)
        segment_id = 0
        if category is None:
            canvas.notes[f"label '{one.get('label')}', which no class names: void"] += 1
        else:
            segment_id = canvas.segment(category, instance=k, crowd=crowd)
        try:
            canvas.polygon(polygon, segment_id)
        except _BROKEN as error:
            raise SourceError(f"{path}: object {k} cannot be drawn ({error!r})") from error


def _category(label: Any, classes: ClassList) -> Tuple[Any, bool]:
    """The category that a label stands for, or None; and whether it is a group of it."""
    category = classes.find(label)
    if category is not None or not str(label).endswith(_GROUP):
        return category, False
    base = classes.find(str(label).removesuffix(_GROUP))
    return (base, True) if base is not None and base["isthing"] else (None, False)
