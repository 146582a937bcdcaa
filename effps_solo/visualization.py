"""Fast pictures of panoptic predictions: no labels, hundredths of a second."""

from typing import Any, Dict, List, Sequence, Tuple

import cv2
import numpy as np

_TINT = 0.25  # how far the colours of a class's objects lie apart, as a part of the full range
_OPACITY = 0.5


def panoptic_overlay(
    image: np.ndarray,
    panoptic_seg: np.ndarray,
    segments_info: Sequence[Dict[str, Any]],
    metadata: Any,
    *,
    max_size: int = 0,
) -> np.ndarray:
    """Segments in the colours of their classes over an image, objects in tints and with white borders.

    Args:
        image: (H, W, 3) uint8 RGB.
        panoptic_seg: (H, W) segment ids, 0 is void and stays without colour.
        segments_info: id, category_id (contiguous) and isthing of every segment.
        metadata: with thing_colors and stuff_colors by contiguous id.
        max_size: pixels of the longer side at most; 0: as it is.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    image, panoptic_seg = _shrunk(image, panoptic_seg, max_size)
    picture = image.astype(np.float32)
    colors, is_thing = _tables(segments_info, metadata, int(panoptic_seg.max(initial=0)))
    shown = panoptic_seg > 0
    picture[shown] += _OPACITY * (colors[panoptic_seg[shown]] - picture[shown])
    picture[_borders(np.where(is_thing[panoptic_seg], panoptic_seg, 0))] = 255
    return picture.round().astype(np.uint8)


def _shrunk(
    image: np.ndarray, panoptic_seg: np.ndarray, max_size: int
) -> Tuple[np.ndarray, np.ndarray]:
    height, width = image.shape[:2]
    if not 0 < max_size < max(height, width):
        return image, panoptic_seg
    scale = max_size / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    ids = cv2.resize(panoptic_seg.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), ids


def _tables(
    segments_info: Sequence[Dict[str, Any]], metadata: Any, max_id: int
) -> Tuple[np.ndarray, np.ndarray]:
    """By segment id: colours (max_id + 1, 3) float, and whether it is an object."""
    colors = np.zeros((max_id + 1, 3), dtype=np.float32)
    is_thing = np.zeros(max_id + 1, dtype=bool)
    for segment in segments_info:
        if segment["id"] > max_id:
            continue
        table: List[Any] = metadata.thing_colors if segment["isthing"] else metadata.stuff_colors
        color = np.array(table[segment["category_id"]], dtype=np.float32)
        if segment["isthing"]:
            # Always the same for an id, so that pictures of a training can be compared.
            tint = np.random.default_rng(segment["id"]).uniform(-_TINT, _TINT, 3)
            color = np.clip(color + 255 * tint, 0, 255)
        colors[segment["id"]] = color
        is_thing[segment["id"]] = segment["isthing"]
    return colors, is_thing


def _borders(objects: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels of objects with another id to the right or below, and the other way round."""
    borders = np.zeros(objects.shape, dtype=bool)
    beside, below = objects[:, 1:] != objects[:, :-1], objects[1:] != objects[:-1]
    borders[:, 1:] |= beside
    borders[:, :-1] |= beside
    borders[1:] |= below
    borders[:-1] |= below
    return borders & (objects > 0)
