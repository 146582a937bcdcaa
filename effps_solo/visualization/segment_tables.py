"""Segments by row, and the colours in which they are drawn."""

from functools import lru_cache
from typing import Any, Dict, Mapping, Sequence, Tuple

import numpy as np

from effps_solo.structures.classes import PanopticClass

Color = Tuple[int, int, int]
SegmentsInfo = Sequence[Mapping[str, Any]]

_TINT = 40  # how far the colours of a class's objects lie from the class's, of 255


class SegmentTables:
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
