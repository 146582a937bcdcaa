"""Which object of a frame is which of the frames before: greedy matching of masks.

Good enough to keep the colours of a video steady; no re-identification, no motion model.
"""

from collections import Counter
from typing import Dict, List, Tuple

import numpy as np

from effps_solo.structures.segment_measures import common_areas

from .result import PanopticResult

_STEP = 4  # masks are compared on every 4th pixel


class Tracker:
    """Gives the objects of successive frames numbers that stay with them.

    A map holds, for each point, the track that was there last. Objects that nothing covers stay in it
    for ``max_gap`` frames, so that one that is missed for a moment keeps its number.
    """

    def __init__(self, min_iou: float = 0.3, max_gap: int = 5) -> None:
        """
        Args:
            min_iou: an object and a track that overlap by less are not the same.
            max_gap: frames that an object may be missing.
        """
        self.min_iou, self.max_gap = min_iou, max_gap
        self._tracks = np.zeros((0, 0), dtype=np.int32)
        self._known: Dict[int, Tuple[int, int]] = {}  # category and last frame of those in the map
        self._frame, self._next = 0, 1

    def update(self, result: PanopticResult) -> Dict[int, int]:
        """The next frame.

        Returns:
            segment id -> track, >= 1, of its things. Each object is the track of its class that it
            overlaps best, pairs with a greater IoU first; others begin a track.
        """
        ids = result.panoptic[::_STEP, ::_STEP]
        if ids.shape != self._tracks.shape:  # another video
            self._tracks, self._known = np.zeros(ids.shape, dtype=np.int32), {}
        category = {s.id: s.category_id for s in result.segments if s.isthing}
        track_of: Dict[int, int] = {}
        for _, segment_id, track in self._pairs(ids, category):
            if segment_id not in track_of and track not in track_of.values():
                track_of[segment_id] = track
        for segment_id in category.keys() - track_of.keys():
            track_of[segment_id] = self._next
            self._next += 1
        self._remember(ids, category, track_of)
        return track_of

    def _pairs(self, ids: np.ndarray, category: Dict[int, int]) -> List[Tuple[float, int, int]]:
        """(IoU, segment, track) of all pairs that may be the same object, the best first."""
        common = common_areas(ids, self._tracks)
        area, track_area = Counter[int](), Counter[int]()
        for (segment_id, track), shared in common.items():
            area[segment_id] += shared
            track_area[track] += shared
        pairs = []
        for (segment_id, track), shared in common.items():
            if track and category.get(segment_id) == self._known[track][0]:
                iou = shared / (area[segment_id] + track_area[track] - shared)
                if iou >= self.min_iou:
                    pairs.append((iou, segment_id, track))
        return sorted(pairs, reverse=True)

    def _remember(
        self, ids: np.ndarray, category: Dict[int, int], track_of: Dict[int, int]
    ) -> None:
        self._frame += 1
        lookup = np.zeros(int(ids.max(initial=0)) + 1, dtype=np.int32)
        for segment_id, track in track_of.items():
            if segment_id < len(lookup):  # no point of the coarse grid lies in it otherwise
                lookup[segment_id] = track
            self._known[track] = (category[segment_id], self._frame)
        oldest = self._frame - self.max_gap
        gone = [track for track, (_, last) in self._known.items() if last < oldest]
        for track in gone:
            del self._known[track]
        now = lookup[ids]
        old = np.where(np.isin(self._tracks, [*track_of.values(), *gone]), 0, self._tracks)
        self._tracks = np.where(now > 0, now, old)
