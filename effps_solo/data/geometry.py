"""Geometry of all objects of an image from its id map, in passes over the map and not over objects.

Mass centres and stride-4 masks equal the published targets of SOLOv2 (mmdetection and
WXinlong/SOLO; AdelaiDet resizes masks before it pads them to a multiple of 4).

H x W pixels, M objects with ids 1 .. M.
"""

from dataclasses import dataclass
from typing import Tuple

import numpy as np

from effps_solo.structures.segment_measures import measure_segments

MASK_STRIDE = 4


@dataclass
class ObjectGeometry:
    """Geometry of M objects; zeros where an object has no pixel.

    Attributes:
        boxes: (M, 4) float32 XYXY in pixels; x1 and y1 are exclusive (last pixel + 1).
        centers: (M, 2) float32 x, y of the mass centre: mean pixel index.
        areas: (M,) int64 pixels.
        stride4_masks: (M, ceil(H/4), ceil(W/4)) bool: at least two of the centre 2 x 2 pixels of a
            4 x 4 block, which equals a bilinear resize by 1/4 thresholded at >= 0.5.
    """

    boxes: np.ndarray
    centers: np.ndarray
    areas: np.ndarray
    stride4_masks: np.ndarray


def geometry_from_id_map(ids: np.ndarray, num_objects: int) -> ObjectGeometry:
    """Boxes, mass centres, areas and stride-4 masks of the objects 1 .. ``num_objects``.

    Args:
        ids: (H, W) integers; 0 and ids above ``num_objects`` belong to no object.
        num_objects: M.
    """
    centers, areas = mass_centers(ids, num_objects)
    return ObjectGeometry(
        boxes=boxes_from_id_map(ids, num_objects),
        centers=centers,
        areas=areas,
        stride4_masks=_stride4_masks(ids, num_objects),
    )


def mass_centers(ids: np.ndarray, num_objects: int) -> Tuple[np.ndarray, np.ndarray]:
    """The centres and areas of :func:`geometry_from_id_map` alone."""
    flat = np.flatnonzero((ids > 0) & (ids <= num_objects))
    y, x = np.divmod(flat, ids.shape[1])
    obj = ids.reshape(-1)[flat].astype(np.int64) - 1
    areas = np.bincount(obj, minlength=num_objects)
    count = np.maximum(areas, 1)
    center_x = np.bincount(obj, x, minlength=num_objects) / count
    center_y = np.bincount(obj, y, minlength=num_objects) / count
    return np.stack([center_x, center_y], axis=1).astype(np.float32), areas


def boxes_from_id_map(ids: np.ndarray, num_objects: int) -> np.ndarray:
    """The boxes of :func:`geometry_from_id_map` alone."""
    measures = measure_segments(ids)
    is_object = measures.ids <= num_objects
    first, size = np.split(measures.boxes[is_object], 2, axis=1)
    boxes = np.zeros((num_objects, 4), dtype=np.float32)
    boxes[measures.ids[is_object] - 1] = np.concatenate([first, first + size], axis=1)
    return boxes


def stride4_mask(mask: np.ndarray) -> np.ndarray:
    """``ObjectGeometry.stride4_masks`` of one mask: (H, W) bool -> (ceil(H/4), ceil(W/4)) bool."""
    count = sum(part.astype(np.uint8) for part in _center_pixels(mask))
    return np.asarray(count) >= 2


def stride4_majority(ids: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The ids that hold at least two of the centre 2 x 2 pixels of every 4 x 4 block.

    Args:
        ids: (H, W) non-negative integers; the map is continued with 0 to a multiple of 4.

    Returns:
        two (ceil(H/4), ceil(W/4)) maps: there may be two such ids, 0 where there is none.
    """
    a, b, c, d = _center_pixels(ids)
    first = np.where((a == b) | (a == c) | (a == d), a, 0)
    # Pairs without a: at most one of them differs from the id of ``first``.
    other = np.where((b == c) | (b == d), b, np.where(c == d, c, 0))
    return first, np.where(other == first, 0, other)


def _center_pixels(array: np.ndarray) -> Tuple[np.ndarray, ...]:
    """The centre 2 x 2 pixels of every 4 x 4 block, row by row; 0 beyond the array."""
    pad_y, pad_x = -array.shape[0] % MASK_STRIDE, -array.shape[1] % MASK_STRIDE
    array = np.pad(array, ((0, pad_y), (0, pad_x)))
    return tuple(array[y::MASK_STRIDE, x::MASK_STRIDE] for y in (1, 2) for x in (1, 2))


def _stride4_masks(ids: np.ndarray, num_objects: int) -> np.ndarray:
    height, width = -(-ids.shape[0] // MASK_STRIDE), -(-ids.shape[1] // MASK_STRIDE)
    masks = np.zeros((num_objects, height, width), dtype=bool)
    for owner in stride4_majority(ids):
        y, x = np.nonzero((owner > 0) & (owner <= num_objects))
        masks[owner[y, x].astype(np.int64) - 1, y, x] = True
    return masks
