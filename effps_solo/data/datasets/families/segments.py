"""Panoptic PNGs of a download that need no new ids."""

from typing import Any, Dict, List, Mapping

import numpy as np

from ...geometry import boxes_from_id_map


def measured_segments(
    ids: np.ndarray, segments: Mapping[int, Mapping[str, Any]]
) -> List[Dict[str, Any]]:
    """segments_info of an id map: area and bbox come from the pixels.

    Args:
        ids: (H, W) integers >= 0.
        segments: id -> category_id and iscrowd; other ids are left out.

    Returns:
        [{id, category_id, iscrowd, area, bbox (x, y, width, height)}] by ascending id, those alone
        that have pixels.
    """
    found, dense = np.unique(ids, return_inverse=True)
    # numpy versions differ in the shape of the inverse.
    dense = dense.reshape(ids.shape) + 1
    areas = np.bincount(dense.reshape(-1), minlength=len(found) + 1)
    boxes = boxes_from_id_map(dense, len(found)).astype(int).tolist()
    return [
        {
            "id": segment_id,
            "category_id": segments[segment_id]["category_id"],
            "iscrowd": segments[segment_id]["iscrowd"],
            "area": int(areas[k + 1]),
            "bbox": [x0, y0, x1 - x0, y1 - y0],
        }
        for k, (segment_id, (x0, y0, x1, y1)) in enumerate(zip(found.tolist(), boxes))
        if segment_id in segments
    ]
