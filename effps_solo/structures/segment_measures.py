"""Areas, overlaps and boxes of segments, from the pixels of id maps. H x W pixels, S segments."""

from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Mapping, Tuple

import numpy as np

from .panoptic_png import VOID


@dataclass
class SegmentMeasures:
    """What the pixels of a PNG say about its S segments, by ascending id, without void."""

    ids: np.ndarray  # (S,) int64
    areas: np.ndarray  # (S,) int64 pixels
    boxes: np.ndarray  # (S, 4) int64 x, y, width, height

    def rows(self) -> Iterator[Tuple[int, int, List[int]]]:
        """id, area and box of each segment."""
        return zip(self.ids.tolist(), self.areas.tolist(), self.boxes.tolist())


def measure_segments(ids: np.ndarray) -> SegmentMeasures:
    """Of (H, W) integers, 0 is void, in one pass over the runs of equal ids in each row."""
    height, width = ids.shape
    starts_here = np.ones((height, width), dtype=bool)
    starts_here[:, 1:] = ids[:, 1:] != ids[:, :-1]
    starts = np.flatnonzero(starts_here)
    lengths = np.diff(starts, append=ids.size)
    y, x = np.divmod(starts, width)
    found, segment = np.unique(ids.reshape(-1)[starts], return_inverse=True)
    count = len(found)
    areas = np.bincount(segment, lengths, minlength=count).astype(np.int64)
    low = np.full((2, count), ids.size)
    high = np.zeros((2, count), dtype=np.int64)
    for axis, first, last in ((0, x, x + lengths), (1, y, y + 1)):
        np.minimum.at(low[axis], segment, first)
        np.maximum.at(high[axis], segment, last)
    boxes = np.concatenate([low, high - low]).T
    real = found != VOID
    return SegmentMeasures(found[real].astype(np.int64), areas[real], boxes[real])


def measured_segments(
    ids: np.ndarray, segments: Mapping[int, Mapping[str, Any]]
) -> List[Dict[str, Any]]:
    """segments_info of (H, W) integers, 0 is void.

    Args:
        segments: id -> category_id and iscrowd; other ids are left out.

    Returns:
        [{id, category_id, iscrowd, area, bbox (x, y, width, height)}] by ascending id, of those that
        have pixels.
    """
    info = []
    for segment_id, area, box in measure_segments(ids).rows():
        if segment_id in segments:
            kind = {key: segments[segment_id][key] for key in ("category_id", "iscrowd")}
            info.append({"id": segment_id, **kind, "area": area, "bbox": box})
    return info


def common_areas(first: np.ndarray, second: np.ndarray) -> Dict[Tuple[int, int], int]:
    """(id in one map, id in another of the same size) -> pixels that have both; ids are below 2^31."""
    both = (first.astype(np.int64) << 32) | second.astype(np.int64)
    keys, areas = np.unique(both, return_counts=True)
    ids = zip((keys >> 32).tolist(), (keys & 0xFFFFFFFF).tolist())
    return dict(zip(ids, areas.tolist()))
