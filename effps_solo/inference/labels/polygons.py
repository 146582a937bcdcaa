"""Polygons round the pixels of a mask. Pure functions; need numpy alone.

H x W pixels, n points; x, y are in pixels, and the pixel in column c and row r covers c .. c + 1,
r .. r + 1.

Readers fill polygons in two ways: Pillow (labelme's own scripts, ``import-dataset``) cuts coordinates
to whole numbers and draws the outline, too; pycocotools samples the middles of pixels. A polygon along
the corners of pixels, drawn a hundredth of a pixel inside, covers the same pixels in both.
"""

from typing import Dict, List, Mapping, Sequence, Tuple

import numpy as np

_INSET = 0.01  # pixels
# Which of the pixels round a corner belong to the mask (1: upper left, 2: upper right, 4: lower left, 8:
# lower right) -> in which of them, as steps (x, y) from the corner, the outlines turn that meet there. Where
# two pixels touch with their corners alone each has an outline of its own.
_TURNS: Mapping[int, Tuple[Tuple[int, int], ...]] = {
    1: ((-1, -1),),
    2: ((1, -1),),
    4: ((-1, 1),),
    8: ((1, 1),),
    7: ((-1, -1),),
    11: ((1, -1),),
    13: ((-1, 1),),
    14: ((1, 1),),
    9: ((-1, -1), (1, 1)),
    6: ((-1, 1), (1, -1)),
}
_RISING = 6  # the two pixels that touch lie lower left and upper right


def trace_mask(mask: np.ndarray) -> Tuple[List[np.ndarray], bool]:
    """The polygons of a mask.

    Args:
        mask: (H, W) bool.

    Returns:
        the (n, 2) float64 points of each part, n >= 4, and whether there are holes. Parts touch with
        corners at most. Holes are joined to the border around them by bridges without width.
    """
    corners = _Corners(mask)
    starts = corners.ring_starts()
    holes = [start for start in starts if corners.is_hole(start)]
    corners.bridge(mask, holes)
    rings = [corners.ring(start) for start in starts if not corners.is_hole(start)]
    points = np.stack([corners.x, corners.y], axis=1) + _INSET * corners.inward
    return [_without_repeats(points[ring]) for ring in rings], bool(holes)


def run_lengths(pixels: np.ndarray) -> List[int]:
    """The lengths of the runs of equal values in (n,) bool pixels; the first, perhaps 0, is one of False."""
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    lengths: List[int] = np.diff(changes, prepend=0, append=len(pixels)).tolist()
    return [0, *lengths] if pixels[0] else lengths


def without_inset(points: np.ndarray) -> np.ndarray:
    """The (n, 2) corners of pixels, or middles of their sides, next to points; none is repeated."""
    return _without_repeats(np.rint(2 * points) / 2)


def edge_middles(points: np.ndarray) -> np.ndarray:
    """The middles of all sides of pixels along a polygon of :func:`trace_mask`.

    A slanted border is a staircase, whose corners lie on both sides of it; these lie on it, within half
    a pixel.

    Args:
        points: (n, 2).

    Returns:
        (m, 2) float64 points, as far inside as ``points``.
    """
    start = np.rint(points)
    way = np.roll(start, -1, axis=0) - start  # along one axis
    length = np.abs(way).sum(axis=1).astype(np.int64)
    edge = np.repeat(np.arange(len(points)), length)
    step = np.arange(len(edge)) - np.repeat(np.cumsum(length) - length, length) + 0.5
    middles = start[edge] + np.sign(way[edge]) * step[:, None]
    return np.where(way[edge] == 0, points[edge], middles)


class _Corners:
    """Corners of outlines. One edge of each runs along its row, another along its column.

    Attributes:
        x, y, inward: of each corner; ``inward`` are steps into the pixel in which the outline turns.
        along_row, along_column: the other end of each edge.
    """

    def __init__(self, mask: np.ndarray) -> None:
        """``mask`` is (H, W) bool."""
        padded = np.pad(mask, 1).astype(np.uint8)
        code = padded[:-1, :-1] + 2 * padded[:-1, 1:] + 4 * padded[1:, :-1] + 8 * padded[1:, 1:]
        y, x = np.nonzero(~np.isin(code, (0, 3, 5, 10, 12, 15)))
        code = code[y, x]
        turns = np.zeros((2, 16, 2), dtype=np.int64)
        for key, steps in _TURNS.items():
            turns[: len(steps), key] = steps
        twice = np.isin(code, [key for key, steps in _TURNS.items() if len(steps) == 2])
        self.x = np.concatenate([x, x[twice]])
        self.y = np.concatenate([y, y[twice]])
        self.inward = np.concatenate([turns[0, code], turns[1, code[twice]]])
        second = np.arange(len(self.x)) >= len(x)
        rising = np.concatenate([code, code[twice]]) == _RISING
        # The corners in a row, or in a column, are the ends of edges by turns.
        self._by_row = np.lexsort((second, self.x, self.y))
        self.along_row = _partners(self._by_row)
        self.along_column = _partners(np.lexsort((second ^ rising, self.y, self.x)))

    def ring_starts(self) -> List[int]:
        """Of every ring the leftmost corner in its top row; those further up come first."""
        seen = bytearray(len(self.x))
        starts = []
        for start in self._by_row.tolist():
            if not seen[start]:
                starts.append(start)
                for corner in self.ring(start):
                    seen[corner] = 1
        return starts

    def is_hole(self, start: int) -> bool:
        """Whether the ring that starts there goes round a hole: the mask lies outside."""
        return bool(self.inward[start, 1] < 0)

    def ring(self, start: int) -> List[int]:
        """The corners from ``start`` along its row and on."""
        corners: List[int] = []
        corner = start
        while not corners or corner != start:
            beside = self.along_row[corner]
            corners += [corner, beside]
            corner = self.along_column[beside]
        return corners

    def bridge(self, mask: np.ndarray, holes: Sequence[int]) -> None:
        """Join each hole to the outline above it.

        Args:
            holes: the starts of their rings, those further up first, so that what is above is joined.
        """
        x, y, inward = self.x.tolist(), self.y.tolist(), self.inward.tolist()
        edges: Dict[int, List[int]] = {}  # row -> left ends
        for left in self._by_row[::2].tolist() if holes else ():
            edges.setdefault(y[left], []).append(left)
        for start in holes:
            column = mask[: y[start], x[start] - 1]
            top = int(np.flatnonzero(~column).max(initial=-1)) + 1
            left = next(e for e in edges[top] if x[e] < x[start] <= x[self.along_row[e]])
            right, below = self.along_row[left], self.along_column[start]
            first, second = len(x), len(x) + 1  # corners on the edge above the start
            x += [x[start]] * 2
            y += [top] * 2
            inward += [[-1, 1]] * 2
            self.along_row += [left, right]
            self.along_row[left], self.along_row[right] = first, second
            self.along_column += [below, start]
            self.along_column[below], self.along_column[start] = first, second
            edges[top].append(second)
        self.x, self.y = np.array(x, dtype=np.int64), np.array(y, dtype=np.int64)
        self.inward = np.array(inward, dtype=np.int64).reshape(-1, 2)


def _without_repeats(points: np.ndarray) -> np.ndarray:
    return points[(points != np.roll(points, 1, axis=0)).any(axis=1)]


def _partners(order: np.ndarray) -> List[int]:
    """The 2nd for the 1st, the 1st for the 2nd, the 4th for the 3rd ... in an order of indices."""
    partners = np.empty(len(order), dtype=np.int64)
    partners[order[::2]], partners[order[1::2]] = order[1::2], order[::2]
    return partners.tolist()
