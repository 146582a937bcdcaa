"""Names of segments in a picture, and the legend below it."""

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from effps_solo.structures.classes import PanopticClass
from effps_solo.structures.segment_measures import measure_segments

from .fonts import font_for
from .segment_tables import SegmentsInfo, SegmentTables

_PLATE = (20, 20, 20)  # behind a label
_PLATE_OPACITY = 0.65
_INK = (255, 255, 255)
_LEGEND_BACKGROUND = (32, 32, 32)
_MIN_STUFF_AREA = 0.004  # of the picture; smaller stuff gets no label
_GRID = 256  # points along the shorter side in which places for labels are sought
_PADDING = 2  # pixels around the text of a label


@dataclass(frozen=True)
class _Label:
    """A text and the pixels of its plate: x, y of the upper left corner, width, height."""

    text: str
    x: int
    y: int
    width: int
    height: int


def draw_labels(
    picture: np.ndarray,
    tables: SegmentTables,
    segments_info: SegmentsInfo,
    classes: Sequence[PanopticClass],
) -> np.ndarray:
    """``picture`` (H, W, 3) with the names of the segments, where they cover no other thing."""
    font = font_for(picture.shape[:2], [entry.name for entry in classes])
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
    tables: SegmentTables,
    segments_info: SegmentsInfo,
    classes: Sequence[PanopticClass],
    font: ImageFont.FreeTypeFont,
) -> List[_Label]:
    """Labels that cover neither each other nor a thing that is not theirs, large segments first."""
    step = max(1, round(min(tables.rows.shape) / _GRID))  # a coarse grid is enough to find a place
    rows = tables.rows[::step, ::step]
    boxes = {row: box for row, _, box in measure_segments(rows).rows()}
    taken = np.zeros(rows.shape, dtype=bool)
    placed: List[_Label] = []
    height = sum(font.getmetrics()) + 2 * _PADDING - 2
    for segment in sorted(segments_info, key=lambda s: -tables.area(s["id"])):
        row = tables.row_of_id.get(segment["id"], 0)
        small = tables.areas[row] < _MIN_STUFF_AREA * tables.rows.size
        if row not in boxes or (small and not segment["isthing"]):
            continue
        text = classes[segment["category_id"]].name
        if segment["isthing"]:
            text += f" {segment['score']:.2f}"
        width = round(font.getlength(text)) + 2 * _PADDING + 2
        size = (-(-width // step), -(-height // step))
        corner = _free_place(rows, taken, row, boxes[row], size, tables.is_thing)
        if corner is not None:
            x = min(corner[0] * step, tables.rows.shape[1] - width)
            y = min(corner[1] * step, tables.rows.shape[0] - height)
            placed.append(_Label(text, x, y, width, height))
    return placed


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


def legend_strip(classes: Sequence[PanopticClass], size: Tuple[int, int]) -> np.ndarray:
    """(h, W, 3) uint8: swatches and names below a picture of (H, W), in as many lines as they need."""
    font = font_for(size, [entry.name for entry in classes])
    line = sum(font.getmetrics()) + 4
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
