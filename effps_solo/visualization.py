"""Pictures of panoptic predictions: colours, borders, labels and a legend in a tenth of a second.

Pixels are looked up in tables of 8-bit colours and blended by OpenCV; nothing is done for each segment
at full size.
"""

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .classes import PanopticClass
from .data.segment_measures import measure_segments

Color = Tuple[int, int, int]
SegmentsInfo = Sequence[Mapping[str, Any]]

_TINT = 40  # how far the colours of a class's objects lie from the class's, of 255
_BORDER = (255, 255, 255)  # of things
_PLATE = (20, 20, 20)  # behind a label
_PLATE_OPACITY = 0.65
_INK = (255, 255, 255)
_LEGEND_BACKGROUND = (32, 32, 32)
_FONT_SIZE = 1 / 55  # in shorter sides of the picture
_FONT_SIZES = (11, 28)  # pixels, at least and at most
_MIN_STUFF_AREA = 0.004  # of the picture; smaller stuff gets no label
# Pixels and their right neighbours, pixels and their lower neighbours.
_NEIGHBOURS = (
    ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
)
_GRID = 256  # points along the shorter side in which places for labels are sought
_PADDING = 2  # pixels around the text of a label


def panoptic_overlay(
    image: np.ndarray,
    panoptic_seg: np.ndarray,
    segments_info: SegmentsInfo,
    classes: Sequence[PanopticClass],
    *,
    labels: bool = False,
    legend: bool = False,
    opacity: float = 0.5,
    max_size: int = 0,
    shades: Optional[Mapping[int, int]] = None,
) -> np.ndarray:
    """Segments in the colours of their classes over an image, objects in shades and with white borders.

    Args:
        image: (H, W, 3) uint8 RGB.
        panoptic_seg: (H, W) segment ids; void, that is 0 and ids that ``segments_info`` lacks, stays
            without colour.
        segments_info: id, category_id (contiguous), isthing and score of every segment.
        classes: by contiguous id.
        labels: write the classes, and the scores of things, where they cover no other thing.
        legend: add a strip below with the colours of the classes.
        opacity: of the colours, in [0, 1].
        max_size: pixels of the longer side at most, without the legend; 0: as it is.
        shades: segment id -> number that chooses the shade of a thing; by default its id. A number
            always means the same shade.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    image, panoptic_seg = _shrunk(image, panoptic_seg, max_size)
    tables = _Tables(panoptic_seg, segments_info, classes, shades or {})
    picture = _tinted(image, tables, opacity)
    _draw_borders(picture, tables)
    if labels:
        picture = _labelled(picture, tables, segments_info, classes)
    if legend:
        present = {s["category_id"] for s in segments_info if s["id"] in tables.row_of_id}
        strip = _legend([classes[c] for c in sorted(present)], picture.shape[:2])
        picture = np.concatenate([picture, strip])
    return picture


def _shrunk(
    image: np.ndarray, panoptic_seg: np.ndarray, max_size: int
) -> Tuple[np.ndarray, np.ndarray]:
    height, width = image.shape[:2]
    if not 0 < max_size < max(height, width):
        return image, panoptic_seg
    scale = max_size / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    ids = cv2.resize(panoptic_seg.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), ids


class _Tables:
    """Segments by row: row 0 is void, row k the k-th segment that has pixels.

    Attributes:
        rows: (H, W) uint16 row of each pixel.
        colors: (rows, 3) uint8.
        is_thing: (rows,) bool.
        areas: (rows,) int64 pixels; 0 of void.
        row_of_id: of the segments that have pixels.
    """

    def __init__(
        self,
        panoptic_seg: np.ndarray,
        segments_info: SegmentsInfo,
        classes: Sequence[PanopticClass],
        shades: Mapping[int, int],
    ) -> None:
        max_id = int(panoptic_seg.max(initial=0))
        lookup = np.zeros(max_id + 1, dtype=np.uint16)
        counts = np.bincount(panoptic_seg.ravel(), minlength=max_id + 1)
        present = [s for s in segments_info if 0 < s["id"] <= max_id and counts[s["id"]]]
        self.colors = np.zeros((len(present) + 1, 3), dtype=np.uint8)
        self.is_thing = np.zeros(len(present) + 1, dtype=bool)
        self.areas = np.zeros(len(present) + 1, dtype=np.int64)
        self.row_of_id: Dict[int, int] = {}
        for row, segment in enumerate(present, start=1):
            segment_id, color = segment["id"], classes[segment["category_id"]].color
            if segment["isthing"]:
                color = shade(color, shades.get(segment_id, segment_id))
            self.colors[row], self.is_thing[row] = color, segment["isthing"]
            self.areas[row] = counts[segment_id]
            self.row_of_id[segment_id] = row
            lookup[segment_id] = row
        self.rows = lookup[panoptic_seg]

    def area(self, segment_id: int) -> int:
        """Pixels; 0 of a segment that has none."""
        return int(self.areas[self.row_of_id.get(segment_id, 0)])


@lru_cache(maxsize=4096)
def shade(color: Color, number: int) -> Color:
    """A colour near ``color``, always the same for a number."""
    offsets = np.random.default_rng(number).uniform(-_TINT, _TINT, 3)
    red, green, blue = np.clip(np.add(color, offsets), 0, 255).round().astype(int).tolist()
    return red, green, blue


def _tinted(image: np.ndarray, tables: _Tables, opacity: float) -> np.ndarray:
    """A copy of ``image`` with the segments' colours over it."""
    rgba = np.pad(tables.colors, ((0, 0), (0, 1))).view(np.uint32)[:, 0]  # one look-up, not three
    pixels = rgba[tables.rows].view(np.uint8).reshape(*tables.rows.shape, 4)
    colors = cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB)
    tinted = cv2.addWeighted(image, 1 - opacity, colors, opacity, 0)
    cv2.copyTo(image, (tables.rows == 0).view(np.uint8), tinted)
    return tinted


def _draw_borders(picture: np.ndarray, tables: _Tables) -> None:
    """White on both sides where a thing ends; a shine on one side between two kinds of stuff."""
    thing = tables.is_thing[tables.rows]
    stuff = (tables.rows > 0) & ~thing
    ends = np.zeros(thing.shape, dtype=bool)
    shine = np.zeros_like(ends)
    for first, second in _NEIGHBOURS:
        differ = tables.rows[first] != tables.rows[second]
        ends[first] |= differ
        ends[second] |= differ
        shine[first] |= differ & stuff[first] & stuff[second]
    picture[ends & thing] = _BORDER
    picture[shine] = picture[shine] // 2 + 64


@dataclass(frozen=True)
class _Label:
    """A text and the pixels of its plate: x, y of the upper left corner, width, height."""

    text: str
    x: int
    y: int
    width: int
    height: int


def _labelled(
    picture: np.ndarray,
    tables: _Tables,
    segments_info: SegmentsInfo,
    classes: Sequence[PanopticClass],
) -> np.ndarray:
    font = _font(picture.shape[:2], [entry.name for entry in classes])
    placed = _place_labels(tables, segments_info, classes, font)
    for label in placed:
        plate = picture[label.y : label.y + label.height, label.x : label.x + label.width]
        faded = plate * (1 - _PLATE_OPACITY) + np.array(_PLATE) * _PLATE_OPACITY
        plate[:] = faded.astype(np.uint8)
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    for label in placed:
        middle = (label.x + label.width / 2, label.y + label.height / 2)
        draw.text(middle, label.text, fill=_INK, font=font, anchor="mm")
    return np.asarray(canvas)


def _place_labels(
    tables: _Tables,
    segments_info: SegmentsInfo,
    classes: Sequence[PanopticClass],
    font: ImageFont.FreeTypeFont,
) -> List[_Label]:
    """Labels that cover neither each other nor a thing that is not theirs, large segments first."""
    step = max(1, round(min(tables.rows.shape) / _GRID))  # a coarse grid is enough to find a place
    rows = tables.rows[::step, ::step]
    boxes = dict(zip(*_ids_and_boxes(rows)))
    taken = np.zeros(rows.shape, dtype=bool)
    placed: List[_Label] = []
    for segment in sorted(segments_info, key=lambda s: -tables.area(s["id"])):
        row = tables.row_of_id.get(segment["id"], 0)
        small = tables.areas[row] < _MIN_STUFF_AREA * tables.rows.size
        if row not in boxes or (small and not segment["isthing"]):
            continue
        text = classes[segment["category_id"]].name
        if segment["isthing"]:
            text += f" {segment['score']:.2f}"
        width, height = _plate_size(text, font)
        size = (-(-width // step), -(-height // step))
        corner = _free_place(rows, taken, row, boxes[row], size, tables.is_thing)
        if corner is not None:
            x = min(corner[0] * step, tables.rows.shape[1] - width)
            y = min(corner[1] * step, tables.rows.shape[0] - height)
            placed.append(_Label(text, x, y, width, height))
    return placed


def _ids_and_boxes(rows: np.ndarray) -> Tuple[List[int], List[List[int]]]:
    """Segments and their x, y, width, height."""
    measures = measure_segments(rows)
    return measures.ids.tolist(), measures.boxes.tolist()


def _free_place(
    rows: np.ndarray,
    taken: np.ndarray,
    row: int,
    box: Sequence[int],
    size: Tuple[int, int],
    is_thing: np.ndarray,
) -> Optional[Tuple[int, int]]:
    """Where a plate of (width, height) goes, x, y, which is marked in ``taken``; None: nowhere.

    Inside the segment if it fits into the box; that of a thing else above the box or below it, where
    the label of stuff would name what is not meant.
    """
    left, top, width, height = box
    middle = left + width // 2 - size[0] // 2
    corners = [(middle, top - size[1]), (middle, top + height)] if is_thing[row] else []
    if width >= size[0] and height >= size[1]:
        x, y = _most_interior_point(rows[top : top + height, left : left + width] == row)
        corners.insert(0, (left + x - size[0] // 2, top + y - size[1] // 2))
    for x, y in corners:
        x = min(max(x, 0), rows.shape[1] - size[0])
        if x < 0 or not 0 <= y <= rows.shape[0] - size[1]:
            continue
        window = (slice(y, y + size[1]), slice(x, x + size[0]))
        others = rows[window] != row
        if others.mean() > 0.5 and not is_thing[row]:
            continue
        if not taken[window].any() and not (is_thing[rows[window]] & others).any():
            taken[window] = True
            return x, y
    return None


def _most_interior_point(mask: np.ndarray) -> Tuple[int, int]:
    """x, y of the point farthest from the border of a mask that holds a point."""
    distance = cv2.distanceTransform(np.pad(mask, 1).view(np.uint8), cv2.DIST_L2, 3)
    y, x = np.unravel_index(distance.argmax(), distance.shape)
    return int(x) - 1, int(y) - 1


def _plate_size(text: str, font: ImageFont.FreeTypeFont) -> Tuple[int, int]:
    """(width, height) pixels."""
    ascent, descent = font.getmetrics()
    return round(font.getlength(text)) + 2 * _PADDING + 2, ascent + descent + 2 * _PADDING - 2


def _font(size: Tuple[int, int], names: Iterable[str]) -> ImageFont.FreeTypeFont:
    """For these names in a picture of (H, W)."""
    smallest, largest = _FONT_SIZES
    pixels = min(max(round(min(size) * _FONT_SIZE), smallest), largest)
    return _font_of_size(pixels, all(name.isascii() for name in names))


@lru_cache(maxsize=32)
def _font_of_size(pixels: int, ascii_alone: bool) -> ImageFont.FreeTypeFont:
    """Pillow's own, which has nothing but ASCII; for the rest matplotlib's, where it is installed."""
    if not ascii_alone and importlib.util.find_spec("matplotlib"):
        return dejavu_sans(pixels)
    font = ImageFont.load_default(pixels)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's own, with FreeType
    return font


@lru_cache(maxsize=32)
def dejavu_sans(pixels: int) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib, which has the letters of most scripts."""
    from matplotlib import (  # takes half a second, and is no part of small installations
        font_manager,
    )

    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), pixels)


def _legend(classes: Sequence[PanopticClass], size: Tuple[int, int]) -> np.ndarray:
    """(h, W, 3) uint8: swatches and names below a picture of (H, W), in as many lines as they need."""
    font = _font(size, [entry.name for entry in classes])
    ascent, descent = font.getmetrics()
    line = ascent + descent + 4
    gap, swatch, width = line // 2, line - 6, size[1]
    positions: List[Tuple[int, int]] = []
    x, y = gap, 2
    for entry in classes:
        needed = swatch + 4 + round(font.getlength(entry.name))
        if x > gap and x + needed > width:
            x, y = gap, y + line
        positions.append((x, y))
        x += needed + gap
    canvas = Image.new("RGB", (width, y + line + 2 if classes else 0), _LEGEND_BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    for (x, y), entry in zip(positions, classes):
        draw.rectangle((x, y + 3, x + swatch - 1, y + swatch + 2), fill=entry.color)
        draw.text((x + swatch + 4, y + line // 2), entry.name, fill=_INK, font=font, anchor="lm")
    return np.asarray(canvas)
