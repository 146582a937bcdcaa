"""CVAT for images 1.1: an XML file for each task, job or project.

Polygons, boxes and ellipses, both perhaps turned, and masks; the rest has no area. Shapes of one label and
one group_id are one object.
"""

import io
import os
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from .classes import Label, label_key
from .coco_categories import complete_entries, rgb
from .drawing import Z_ORDER, ShapeReader
from .files import ForeignFileError, SourceError, UnreadableFileError, files_below
from .geometry import FaultyShapeError, short
from .image_index import ImageIndex, common_folder, find_in
from .rasterize import CORNERS
from .source import AnnotatedImage, Export, Item, Shape, Size
from .splits import SPLIT_WORDS, by_folder

_IMAGES = "images"  # the folder of an export
_NO_SUBSET = ("", "default")
_ELLIPSE_POINTS = 360
Fields = Mapping[str, str]  # the attributes of an element


class CvatImage(NamedTuple):
    """What is drawn of one image.

    Attributes:
        file: for messages.
        size: height and width as stated.
        shapes: tag and attributes of each, in the order of the file.
    """

    file: str
    size: Tuple[Any, Any]
    shapes: List[Tuple[str, Fields]]


class _Task(NamedTuple):
    """The content of a file: attributes and shapes of each image, and the colours of the labels."""

    images: List[Tuple[Fields, List[Tuple[str, Fields]]]]
    colors: Dict[str, Optional[str]]


def find(annotations: str, images: str = "") -> Export:
    """
    Args:
        annotations: an XML file, or a folder with one or more of them.
        images: the folder of the images; "": that of the annotations.

    Raises:
        SourceError: a file cannot be read, or an image is missing.
    """
    is_folder = os.path.isdir(annotations)
    folder = annotations if is_folder else os.path.dirname(annotations) or "."
    paths = list(map(str, files_below(annotations, "*.xml"))) if is_folder else [annotations]
    tasks = {path: task for path in paths if (task := _read_task(path)) is not None}
    items: Dict[str, Item] = {}
    subsets: Dict[str, str] = {}
    for path, task in tasks.items():
        indexes = _indexes(path, images or folder, is_given=bool(images))
        relative = os.path.relpath(os.path.dirname(path) or ".", folder)
        for fields, shapes in task.images:
            name, subset = fields.get("name", ""), fields.get("subset", "")
            inside = (index.existing(os.path.join(subset, name)) for index in indexes if subset)
            image = next(filter(None, inside), None) or find_in(indexes, name, path)
            size = (fields.get("height"), fields.get("width"))
            key = f"{relative}/{len(items)}/{name}"
            items[key] = Item(image, (path,), CvatImage(f"{name} of {path}", size, shapes))
            subsets[key] = "" if subset in _NO_SUBSET else re.sub(r"[^\w-]+", "_", subset)
    if not items:
        raise ForeignFileError(f"--annotations '{annotations}' holds no images of CVAT")
    declared = _declared(tasks)
    found = [item.image for item in items.values()]
    return Export(
        images=images or common_folder(found, folder),
        splits=_by_subset(items, subsets) if any(subsets.values()) else by_folder(items),
        draw=READER.draw,
        overlap=READER.overlap,
        count_labels=lambda: list(declared.values()),
        complete=partial(complete_entries, declared, False),
    )


def _read_task(path: str) -> Optional[_Task]:
    """None: the file is another XML.

    Raises:
        SourceError: it cannot be read, or is made for videos.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise SourceError(f"{path} has a DOCTYPE, which CVAT does not write; it is not read")
        events = ElementTree.iterparse(io.StringIO(text), ("start", "end"))
        return _collect(events, path)
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise UnreadableFileError(f"{path} cannot be read as XML: {error}") from error


def _collect(events: Any, path: str) -> Optional[_Task]:
    task, parents, num_tracks = _Task([], {}), [], 0
    for event, element in events:
        if event == "start":
            parents.append(element.tag)
            continue
        parents.pop()
        if parents != ["annotations"]:
            continue
        num_tracks += element.tag == "track"
        if element.tag == "meta":
            for label in element.iter("label"):
                if label.find("parent") is None:  # a point of a skeleton has one
                    task.colors[label_key(label.findtext("name"))] = label.findtext("color")
        if element.tag == "image":
            shapes: List[Tuple[str, Fields]] = [(one.tag, dict(one.attrib)) for one in element]
            task.images.append((dict(element.attrib), shapes))
        element.clear()
    if num_tracks:
        raise SourceError(f'{path} is "CVAT for video"; export "CVAT for images 1.1" instead')
    return task if task.images else None


def _indexes(path: str, folder: str, is_given: bool) -> List[ImageIndex]:
    """Where the images of a file may lie, the likely folder first."""
    own = [] if is_given else [os.path.dirname(path) or "."]
    folders = [os.path.join(f, _IMAGES) for f in (*own, folder)] + own
    return [ImageIndex(f) for f in dict.fromkeys(folders) if os.path.isdir(f)] + [
        ImageIndex(folder)
    ]


def _by_subset(items: Mapping[str, Item], subsets: Mapping[str, str]) -> Dict[str, List[Item]]:
    splits: Dict[str, List[Item]] = {}
    for key, item in items.items():
        split = SPLIT_WORDS.get(subsets[key].lower(), subsets[key])
        splits.setdefault(split, []).append(item)
    return splits


def _declared(tasks: Mapping[str, _Task]) -> Dict[str, Label]:
    """The labels by name, with the number of shapes that have an area.

    One that is alone is a thing: shapes are objects.
    """
    counts: Counter = Counter()
    colors: Dict[str, Optional[str]] = {}
    for task in tasks.values():
        colors = {**task.colors, **colors}
        for _, shapes in task.images:
            counts.update(label_key(own.get("label")) for tag, own in shapes if tag in _DATA)
    del counts[""]
    isthing = 1 if len(counts) == 1 else None
    names = [name for name in dict.fromkeys([*colors, *counts]) if name]
    return {n: Label(n, counts[n], isthing, color=rgb(colors.get(n))) for n in names}


def read(annotation: CvatImage, size: Size) -> AnnotatedImage:
    """See ``ShapeReader.read``."""
    shapes = []
    for k, (tag, fields) in enumerate(annotation.shapes, 1):
        try:
            shapes.append(_shape(f"shape {k} ({tag})", tag, fields))
        except FaultyShapeError as error:
            raise SourceError(f"{annotation.file}: shape {k} ({tag}): {error}") from error
    return AnnotatedImage(annotation.file, annotation.size, shapes)


def _shape(name: str, tag: str, fields: Fields) -> Shape:
    kind, data_of = _DATA.get(tag, (tag, lambda _: None))
    label, group = label_key(fields.get("label")), fields.get("group_id", "")
    try:
        layer = int(fields.get("z_order") or 0)
    except ValueError as error:
        raise FaultyShapeError(f"its z_order is {short(fields['z_order'])}") from error
    return Shape(
        name,
        label,
        kind,
        data_of(fields),
        object_key=None if group in ("", "0") else f"group {group}",
        left_out="" if label or tag not in _DATA else "without a label",
        layer=layer,
    )


def _polygon(fields: Fields) -> List[str]:
    text = fields.get("points", "")
    return re.split("[,;]", text) if text.strip() else []


def _box(fields: Fields) -> np.ndarray:
    x0, y0, x1, y1 = _numbers(fields, "xtl", "ytl", "xbr", "ybr")
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    return _turned(corners, corners.mean(axis=0), fields)


def _ellipse(fields: Fields) -> np.ndarray:
    x, y, width, height = _numbers(fields, "cx", "cy", "rx", "ry")
    angle = 2 * np.pi / _ELLIPSE_POINTS * np.arange(_ELLIPSE_POINTS)
    rim = np.stack([x + width * np.cos(angle), y + height * np.sin(angle)], axis=1)
    return _turned(rim, np.array([x, y]), fields)


def _turned(points: np.ndarray, center: np.ndarray, fields: Fields) -> np.ndarray:
    """Clockwise by "rotation" in degrees, where y goes down."""
    if not fields.get("rotation"):
        return points
    (degrees,) = _numbers(fields, "rotation")
    sine, cosine = np.sin(np.deg2rad(degrees)), np.cos(np.deg2rad(degrees))
    return center + (points - center) @ np.array([[cosine, sine], [-sine, cosine]])


def _mask(fields: Fields) -> Tuple[List[str], List[float]]:
    counts = fields.get("rle", "")
    box = _numbers(fields, "left", "top", "width", "height")
    return counts.split(",") if counts.strip() else [], box


def _numbers(fields: Fields, *names: str) -> List[float]:
    return [_number(fields.get(name, ""), name) for name in names]


def _number(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = np.nan
    if not np.isfinite(number):
        raise FaultyShapeError(f"its {name} is {short(text)} instead of a number")
    return number


# Tag -> kind, and the data of that kind. Other tags have no area.
_DATA: Dict[str, Tuple[str, Callable[[Fields], Any]]] = {
    "polygon": ("polygon", _polygon),
    "box": ("polygon", _box),
    "ellipse": ("polygon", _ellipse),
    "mask": ("runs", _mask),
}
READER = ShapeReader(read, Z_ORDER, CORNERS)
