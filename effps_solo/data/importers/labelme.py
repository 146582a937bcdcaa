"""Polygons drawn with labelme: a JSON file for every image.

Things lie over stuff, else what comes later in a file lies over what comes before. Shapes of one
label and one group_id are one object; the flag "iscrowd" makes a shape part of a group.
"""

import base64
import io
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
from PIL import Image

from .canvas import SegmentCanvas
from .classes import ClassList
from .files import ImageIndex, SourceError, files_below, read_lists, require_size
from .source import Item, Source

_MIN_POINTS = {"polygon": 3, "rectangle": 2, "circle": 2, "mask": 1}
_BROKEN = (KeyError, TypeError, ValueError, IndexError, AttributeError, OSError)


def labelme_source(annotations: str, images: str, classes: ClassList) -> Source:
    """
    Args:
        annotations: the folder of the JSON files.
        images: the folder of the images, which have the names of the JSON files.
        classes: their labels are those of the shapes.

    Raises:
        SourceError: no file, or one without an image.
    """
    index, items = ImageIndex(images), []
    for path in _files(annotations):
        stem = str(path.relative_to(annotations).with_suffix(""))
        items.append(Item(index.find(stem, str(path)), (str(path),), str(path)))
    return Source(images, items, classes, draw)


def _files(annotations: str) -> List[Path]:
    """All JSON files, without those that an import into the same folder wrote beside a journal."""
    paths = files_below(annotations, "*.json")
    return [p for p in paths if not p.with_name(f".{p.stem}.journal").is_file()]


def labelme_labels(annotations: str) -> Counter:
    """How often each label occurs. Raises SourceError when a file cannot be read."""
    labels: Counter = Counter()
    for path in _files(annotations):
        labels.update(
            str(shape.get("label")) for shape in read_lists(str(path), "shapes")["shapes"]
        )
    return labels


def draw(path: str, classes: ClassList, canvas: SegmentCanvas) -> None:
    """See ``Source.draw``."""
    content = read_lists(path, "shapes")
    require_size(canvas, content.get("imageHeight"), content.get("imageWidth"), path)
    shapes: List[Tuple[bool, int, Any]] = []
    for k, shape in enumerate(content["shapes"]):
        category = classes.find(shape.get("label"))
        shapes.append((bool(category and category["isthing"]), k, category))
    for _, k, category in sorted(shapes, key=lambda shape: shape[:2]):
        shape = content["shapes"][k]
        kind = shape.get("shape_type") or "polygon"
        if kind not in _MIN_POINTS or len(shape.get("points", ())) < _MIN_POINTS[kind]:
            canvas.notes[f"shapes without an area ({kind})"] += 1
            continue
        try:
            _draw_shape(kind, shape, canvas, _segment(shape, k, category, canvas))
        except _BROKEN as error:
            raise SourceError(f"{path}: shape {k} cannot be drawn ({error!r})") from error


def _segment(shape: Dict[str, Any], k: int, category: Any, canvas: SegmentCanvas) -> int:
    if category is None:
        canvas.notes[f"label '{shape.get('label')}', which no class names: void"] += 1
        return 0
    group = shape.get("group_id")
    instance = ("shape", k) if group is None else ("group", group)
    crowd = bool((shape.get("flags") or {}).get("iscrowd"))
    return canvas.segment(category, instance=instance, crowd=crowd)


def _draw_shape(kind: str, shape: Dict[str, Any], canvas: SegmentCanvas, segment_id: int) -> None:
    points = shape["points"]
    if kind == "polygon":
        canvas.polygon(points, segment_id)
    elif kind == "rectangle":
        canvas.rectangle(points[0], points[1], segment_id)
    elif kind == "circle":
        canvas.circle(points[0], points[1], segment_id)
    else:
        with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as image:
            mask = np.asarray(image.convert("L")) > 0
        canvas.mask(mask, segment_id, (round(points[0][0]), round(points[0][1])))
