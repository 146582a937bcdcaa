"""A canvas for panoptic annotations: what is drawn later covers what was there."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Dict, Hashable, List, Mapping, Optional, Tuple

import numpy as np
from PIL import Image

from effps_solo.structures.panoptic_png import VOID
from effps_solo.structures.segment_measures import measured_segments

_COVERED = "covered entirely by others"


@dataclass
class Counts:
    """What became of the annotations of images.

    Attributes:
        num_annotations: that their reader found; 0 if it does not count them.
        num_drawn: of them, those that are in a segment.
        left_out: why the others are not, and how many.
        num_objects, num_crowds: annotations of things by class name, those of crowds apart.
    """

    num_annotations: int = 0
    num_drawn: int = 0
    left_out: Counter = field(default_factory=Counter)
    num_objects: Counter = field(default_factory=Counter)
    num_crowds: Counter = field(default_factory=Counter)

    def add(self, other: Mapping[str, Any]) -> None:
        """Add others, as ``vars`` and JSON have them."""
        for name, value in other.items():
            own = getattr(self, name)
            setattr(self, name, own + (value if isinstance(own, int) else Counter(value)))


class SegmentCanvas:
    """Segments of one image, H x W pixels; at first all are void.

    Attributes:
        crowds_as_objects: every crowd is drawn as an object.
        counts: of the image's annotations.
        notes: what else was left out of account, and how often.
    """

    def __init__(self, height: int, width: int, *, crowds_as_objects: bool = False) -> None:
        self._image = Image.new("I", (width, height), VOID)
        self.crowds_as_objects = crowds_as_objects
        self._ids: Dict[Hashable, int] = {}
        self._segments: List[Dict[str, Any]] = []
        self._num_masks: Counter = Counter()
        self._background = VOID
        self.counts = Counts()
        self.notes: Counter = Counter()

    @property
    def size(self) -> Tuple[int, int]:
        """(H, W)."""
        return self._image.height, self._image.width

    def segment(
        self,
        category: Mapping[str, Any],
        *,
        instance: Optional[Hashable] = None,
        crowd: bool = False,
    ) -> int:
        """The id to draw an annotation with.

        Args:
            category: with "id", "name" and "isthing".
            instance: of a thing, any value that is unique in its class. Stuff, and crowds, are one
                segment for each class.
        """
        is_thing = bool(category["isthing"])
        crowd = is_thing and crowd and not self.crowds_as_objects
        if is_thing:
            counter = self.counts.num_crowds if crowd else self.counts.num_objects
            counter[category["name"]] += 1
        key = (category["id"], crowd, instance if is_thing and not crowd else None)
        if key not in self._ids:
            self._ids[key] = len(self._segments) + 1
            segment = {"id": self._ids[key], "category_id": category["id"]}
            self._segments.append({**segment, "iscrowd": int(crowd)})
        return self._ids[key]

    def fill(self, category: Mapping[str, Any]) -> None:
        """Fill the whole image with stuff."""
        self._background = self.segment(category)
        self._image.paste(self._background, (0, 0, self._image.width, self._image.height))

    def mask(self, mask: np.ndarray, segment_id: int, corner: Tuple[int, int] = (0, 0)) -> None:
        """Fill the True pixels of a (h, w) mask, an annotation of the segment.

        Args:
            segment_id: 0: they become void.
            corner: x, y of the mask's first pixel.
        """
        self._num_masks[segment_id] += 1
        self._image.paste(segment_id, corner, Image.fromarray(np.asarray(mask, dtype=bool)))

    def label_map(self, values: np.ndarray, segment_of: Mapping[int, int]) -> None:
        """Fill the pixels whose value in an (H, W) map of integers >= 0 stands for a segment."""
        lookup = np.zeros(int(values.max(initial=0)) + 1, dtype=np.int32)
        for value, segment_id in segment_of.items():
            lookup[value] = segment_id
        ids = lookup[values]
        self._image.paste(Image.fromarray(ids), mask=Image.fromarray(ids > 0))

    def result(self) -> Tuple[np.ndarray, List[Dict[str, Any]]]:
        """The segments that still show; annotations of the others are counted as left out.

        Returns:
            (H, W) int32 ids, 0 is void, and segments_info [{id, category_id, iscrowd, area, bbox
            (x, y, width, height)}].
        """
        ids = np.asarray(self._image, dtype=np.int32)
        info = measured_segments(ids, {segment["id"]: segment for segment in self._segments})
        shown = {segment["id"] for segment in info}
        for segment_id in self._ids.values():
            count = self._num_masks[segment_id]
            if segment_id in shown:
                self.counts.num_drawn += count
            elif count:
                self.counts.left_out[_COVERED] += count
            elif segment_id != self._background:
                self.notes[f"segments {_COVERED}"] += 1
        return ids, info
