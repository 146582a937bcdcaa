"""A canvas for panoptic annotations: what is drawn later covers what was there."""

from collections import Counter
from typing import Any, Dict, Hashable, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw

from effps_solo.structures.panoptic_png import VOID
from effps_solo.structures.segment_measures import measured_segments

Point = Sequence[float]


class SegmentCanvas:
    """Segments of one image, H x W pixels; at first all are void.

    Attributes:
        notes: what was left out, and how often.
    """

    def __init__(self, height: int, width: int) -> None:
        self._image = Image.new("I", (width, height), VOID)
        self._draw = ImageDraw.Draw(self._image)
        self._ids: Dict[Hashable, int] = {}
        self._segments: List[Dict[str, Any]] = []
        self.notes: Counter = Counter()

    @property
    def size(self) -> Tuple[int, int]:
        """(H, W)."""
        return self._image.height, self._image.width

    def segment(
        self, category: Dict[str, Any], *, instance: Optional[Hashable] = None, crowd: bool = False
    ) -> int:
        """The id to draw with.

        Args:
            category: with "id" and "isthing".
            instance: of a thing, any value that is unique in its class. Stuff, and crowds, are one
                segment for each class.
        """
        is_thing = bool(category["isthing"])
        key = (category["id"], is_thing and crowd, instance if is_thing and not crowd else None)
        if key not in self._ids:
            self._ids[key] = len(self._segments) + 1
            segment = {"id": self._ids[key], "category_id": category["id"]}
            self._segments.append({**segment, "iscrowd": int(is_thing and crowd)})
        return self._ids[key]

    def polygon(self, points: Sequence[Point], segment_id: int) -> None:
        """Fill a polygon of (x, y) pixels; its outline belongs to it."""
        self._draw.polygon([(float(x), float(y)) for x, y in points], fill=segment_id)

    def rectangle(self, corner: Point, opposite: Point, segment_id: int) -> None:
        """Fill an upright rectangle, whichever corners are given."""
        (x0, x1), (y0, y1) = (sorted(pair) for pair in zip(corner, opposite))
        self._draw.rectangle((x0, y0, x1, y1), fill=segment_id)

    def circle(self, center: Point, rim: Point, segment_id: int) -> None:
        """Fill a circle around ``center`` through ``rim``."""
        (x, y), radius = center, float(np.hypot(rim[0] - center[0], rim[1] - center[1]))
        self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=segment_id)

    def mask(self, mask: np.ndarray, segment_id: int, corner: Tuple[int, int] = (0, 0)) -> None:
        """Fill the True pixels of a (h, w) mask whose first pixel lies at ``corner`` (x, y)."""
        self._image.paste(segment_id, corner, Image.fromarray(np.asarray(mask, dtype=bool)))

    def label_map(self, values: np.ndarray, segment_of: Mapping[int, int]) -> None:
        """Fill the pixels whose value in an (H, W) map of integers >= 0 stands for a segment."""
        lookup = np.zeros(int(values.max(initial=0)) + 1, dtype=np.int32)
        for value, segment_id in segment_of.items():
            lookup[value] = segment_id
        ids = lookup[values]
        self._image.paste(Image.fromarray(ids), mask=Image.fromarray(ids > 0))

    def result(self) -> Tuple[np.ndarray, List[Dict[str, Any]]]:
        """The segments that still show.

        Returns:
            (H, W) int32 ids, 0 is void, and segments_info [{id, category_id, iscrowd, area, bbox
            (x, y, width, height)}].
        """
        ids = np.asarray(self._image, dtype=np.int32)
        info = measured_segments(ids, {segment["id"]: segment for segment in self._segments})
        if len(info) < len(self._segments):
            self.notes["segments that others cover entirely"] += len(self._segments) - len(info)
        return ids, info
