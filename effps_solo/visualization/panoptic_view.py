"""A panoptic map, of a label or a prediction, as a tile of a contact sheet."""

from typing import Any, List, Mapping, Sequence

import numpy as np

from .contact_sheet import View, scaled


def view_of_segments(
    image: np.ndarray,
    ids: np.ndarray,
    segments_info: Sequence[Mapping[str, Any]],
    *,
    caption: str,
    width: int,
) -> View:
    """The view of a panoptic map, scaled to ``width`` pixels.

    Args:
        image: (H, W, 3) uint8 RGB.
        ids: (H, W) segment ids; those that ``segments_info`` lacks are void.
        segments_info: id, contiguous category_id and isthing, perhaps iscrowd.
    """
    ids = scaled(ids.astype(np.int32), width)
    sem_seg, objects = np.full_like(ids, -1), np.zeros_like(ids)
    classes: List[int] = []
    for segment in segments_info:
        mask = ids == segment["id"]
        sem_seg[mask] = segment["category_id"]
        if segment["isthing"] and not segment.get("iscrowd"):
            classes.append(segment["category_id"])
            objects[mask] = len(classes)
    return View(
        image=scaled(image, width),
        sem_seg=sem_seg,
        objects=objects,
        classes=classes,
        lost=[False] * len(classes),
        caption=caption,
    )
