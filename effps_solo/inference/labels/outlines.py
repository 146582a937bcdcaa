"""The segments of a panoptic map as polygons, exact or with fewer corners.

Needs numpy, OpenCV and Pillow alone. H x W pixels of the map, h x w of a segment's box, n points.
"""

from dataclasses import dataclass, replace
from typing import Any, Callable, List, Mapping, Optional, Sequence, Set, Tuple

import cv2
import numpy as np
from PIL import Image, ImageDraw

from .polygons import edge_middles, trace_mask, without_inset

MIN_IOU = 0.97  # of a segment and what is left of it when all simplified polygons are drawn
_FINER = 0.7  # what a tolerance that is too coarse is multiplied by
_MIN_TOLERANCE = 0.4  # pixels; below it the staircases of slanted borders stay
_FIFTHS = 5  # to which pycocotools rounds coordinates
Box = Tuple[int, int, int, int]  # x, y, width, height
Window = Tuple[slice, slice]  # rows, columns


@dataclass(frozen=True, eq=False)
class Outline:
    """The polygons of one segment.

    Attributes:
        id: in the map.
        category_id: as in the segments_info.
        isthing: whether it is an object.
        score: in [0, 1].
        bbox: x, y, width, height in pixels.
        area: pixels.
        mask: (h, w) bool, its pixels in its box.
        parts: (n, 2) float64 points x, y in the image, n >= 3, of each polygon.
        has_holes: whether polygons have bridges to holes, see :func:`.polygons.trace_mask`.
    """

    id: int
    category_id: int
    isthing: bool
    score: float
    bbox: Box
    area: int
    mask: np.ndarray
    parts: Tuple[np.ndarray, ...]
    has_holes: bool

    @property
    def window(self) -> Window:
        """Rows and columns of the box."""
        x, y, width, height = self.bbox
        return slice(y, y + height), slice(x, x + width)


Fill = Callable[[Outline], np.ndarray]


def outline_segments(
    ids: np.ndarray, segments_info: Sequence[Mapping[str, Any]], tolerance: float = 0.0
) -> List[Outline]:
    """The polygons of all segments, stuff before things, large ones before small ones.

    Args:
        ids: (H, W) segment ids.
        segments_info: id, category_id, isthing, score and bbox of each.
        tolerance: pixels by which a polygon may miss the border; 0: it covers the segment exactly. It is
            smaller where a segment would keep less than ``MIN_IOU`` when all are drawn, in the order of the
            list or small ones over large ones.
    """
    outlines = [_exact_outline(ids, info) for info in segments_info]
    outlines.sort(key=lambda outline: (outline.isthing, -outline.area, outline.id))
    return _simplify(ids.shape, outlines, tolerance) if tolerance > 0 else outlines


def _exact_outline(ids: np.ndarray, info: Mapping[str, Any]) -> Outline:
    x, y, width, height = info["bbox"]
    mask = ids[y : y + height, x : x + width] == info["id"]
    parts, has_holes = trace_mask(mask)
    return Outline(
        id=info["id"],
        category_id=info["category_id"],
        isthing=bool(info["isthing"]),
        score=float(info["score"]),
        bbox=(x, y, width, height),
        area=int(np.count_nonzero(mask)),
        mask=mask,
        parts=tuple(part + (x, y) for part in parts),
        has_holes=has_holes,
    )


def _simplify(size: Tuple[int, ...], exact: Sequence[Outline], tolerance: float) -> List[Outline]:
    """See :func:`outline_segments`."""
    tolerances = [tolerance] * len(exact)
    simple = [_with_fewer_corners(outline, tolerance) for outline in exact]
    layers = [_Layer(size, simple, fill) for fill in (_fill_as_pillow, _fill_as_pycocotools)]
    while too_coarse := set().union(*(layer.too_coarse() for layer in layers)):
        for k in too_coarse:
            tolerances[k] *= _FINER
            simple[k] = _with_fewer_corners(exact[k], tolerances[k])
            for layer in layers:
                layer.replace(k, simple[k])
    return simple


def _with_fewer_corners(exact: Outline, tolerance: float) -> Outline:
    """Polygons that miss the middles of the border's pixels by ``tolerance`` (Douglas and Peucker, 1973)."""
    if tolerance < _MIN_TOLERANCE:
        return exact
    parts = []
    for part in exact.parts:
        middles = edge_middles(part).astype(np.float32)
        chosen = cv2.approxPolyDP(middles, tolerance, closed=True)[:, 0]
        has_area = cv2.contourArea(without_inset(chosen).astype(np.float32)) > 0
        parts.append(chosen.astype(np.float64).round(2) if has_area else part)
    return replace(exact, parts=tuple(parts))


class _Layer:
    """The pixels that polygons cover for one kind of reader."""

    def __init__(self, size: Tuple[int, ...], outlines: Sequence[Outline], fill: Fill) -> None:
        """
        Args:
            size: (H, W).
            outlines: of all segments.
            fill: gives the (h, w) bool pixels of an outline's polygons in its box.
        """
        self._fill = fill
        self._outlines = list(outlines)
        self._filled = [fill(outline) for outline in outlines]
        self._count = np.zeros(size, dtype=np.uint16)  # polygons over a pixel
        for outline, filled in zip(outlines, self._filled):
            self._count[outline.window] += filled

    def replace(self, k: int, outline: Outline) -> None:
        """Give the k-th segment other polygons."""
        window = outline.window
        self._count[window] -= self._filled[k]
        self._outlines[k], self._filled[k] = outline, self._fill(outline)
        self._count[window] += self._filled[k]

    def too_coarse(self) -> Set[int]:
        """Indices of the polygons that leave too little of a segment; none of them is exact."""
        found: Set[int] = set()
        for k, (outline, filled) in enumerate(zip(self._outlines, self._filled)):
            own = outline.mask & filled
            needed = MIN_IOU * np.count_nonzero(outline.mask | filled)
            if np.count_nonzero(own) < needed:
                found.add(k)
            elif np.count_nonzero(own & (self._count[outline.window] == 1)) < needed:
                above = self._cover(own, k)
                if np.count_nonzero(own) < needed:
                    found.update(above)
        return found

    def _cover(self, own: np.ndarray, below: int) -> List[int]:
        """Take from the (h, w) pixels of a segment what may be drawn over them.

        Returns:
            the indices of those polygons: readers draw in this order, or small ones over large ones.
        """
        lower, above = self._outlines[below], []
        for k, (upper, filled) in enumerate(zip(self._outlines, self._filled)):
            windows = _common_windows(lower.bbox, upper.bbox)
            may_be_smaller = upper.area * MIN_IOU**2 <= lower.area  # when both are drawn
            if windows and k != below and (k > below or may_be_smaller):
                covered = own[windows[0]] & filled[windows[1]]
                if covered.any():
                    own[windows[0]] &= ~covered
                    above.append(k)
        return above


def _common_windows(first: Box, second: Box) -> Optional[Tuple[Window, Window]]:
    """The pixels that two boxes have in common, as rows and columns of either; None: there are none."""
    left, top = max(first[0], second[0]), max(first[1], second[1])
    right = min(first[0] + first[2], second[0] + second[2])
    bottom = min(first[1] + first[3], second[1] + second[3])
    if left >= right or top >= bottom:
        return None
    a, b = (
        (slice(top - y, bottom - y), slice(left - x, right - x)) for x, y, _, _ in (first, second)
    )
    return a, b


def _fill_as_pillow(outline: Outline) -> np.ndarray:
    """With the outline, coordinates cut to whole numbers."""
    x, y, width, height = outline.bbox
    canvas = Image.new("1", (width, height))
    draw = ImageDraw.Draw(canvas)
    for part in outline.parts:
        draw.polygon((part - (x, y)).ravel().tolist(), fill=1)
    return np.asarray(canvas)


def _fill_as_pycocotools(outline: Outline) -> np.ndarray:
    """As its ``rleFrPoly``; segments with holes are no polygons there, but masks."""
    if outline.has_holes:
        return outline.mask
    filled = np.zeros_like(outline.mask)
    for part in outline.parts:
        points = without_inset(part) - outline.bbox[:2]
        x, y = np.floor(points.min(axis=0)).astype(int)
        width, height = np.ceil(points.max(axis=0)).astype(int) - (x, y)
        filled[y : y + height, x : x + width] |= _fill_polygon(points - (x, y), (height, width))
    return filled


def _fill_polygon(points: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """(h, w) bool pixels of one polygon.

    Its border is drawn in fifths of pixels. Where it crosses the middle of a column of pixels, inside and
    outside change for all pixels below.

    Args:
        points: (n, 2), 0 at least; none is repeated.
        size: (h, w).
    """
    start = np.floor(points * _FIFTHS + 0.5).astype(np.int64)
    end = np.roll(start, -1, axis=0)
    edge = np.arange(len(start))
    axis = np.abs(end - start).argmax(axis=1)  # x where both are equal
    length = np.abs(end - start)[edge, axis]
    flipped = (start > end)[edge, axis]
    low, high = np.where(flipped[:, None], (end, start), (start, end))
    edge = np.repeat(edge, length + 1)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(length + 1) - length - 1, length + 1)
    step = np.where(flipped[edge], length[edge] - step, step)
    slope = (high - low) / length[:, None]
    points = np.floor(low[edge] + slope[edge] * step[:, None] + 0.5).astype(np.int64)
    before, after = points[:-1], points[1:]
    left, upper = np.minimum(before, after)[before[:, 0] != after[:, 0]].T
    in_middle = left % _FIFTHS == _FIFTHS // 2
    column, row = left[in_middle] // _FIFTHS, (upper[in_middle] + 2) // _FIFTHS
    changes = np.bincount(row * size[1] + column, minlength=(size[0] + 1) * size[1])
    return changes.reshape(-1, size[1]).cumsum(axis=0)[:-1] % 2 == 1
