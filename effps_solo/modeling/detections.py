"""The instances of an image as tensors: what passes from the decoding to the panoptic fusion."""

from typing import NamedTuple, Tuple

import torch

from .mask_layers import MaskLayers


class Detections(NamedTuple):
    """K instances, best first.

    Attributes:
        scores: (K,) in [0, 1], descending.
        valid: (K,) bool; others stand for nothing. All are valid but in an exported graph, where K >= 1.
        thing_index: (K,) int64.
        boxes: (K, 4) XYXY around the masks, in pixels of the network's frame.
        masks: their logits at stride 4, above 0 inside.
    """

    scores: torch.Tensor
    valid: torch.Tensor
    thing_index: torch.Tensor
    boxes: torch.Tensor
    masks: MaskLayers


def boxes_from_masks(masks: torch.Tensor) -> torch.Tensor:
    """Tight boxes of masks.

    Args:
        masks: (K, h, w) bool.

    Returns:
        (K, 4) float XYXY in mask pixels, x1 and y1 exclusive; zeros where a mask is empty.
    """
    (x0, x1), (y0, y1) = _extent(masks.any(dim=1)), _extent(masks.any(dim=2))
    boxes = torch.stack([x0, y0, x1, y1], dim=1).float()
    return boxes * masks.flatten(1).any(dim=1)[:, None]


def _extent(occupied: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    """First and last + 1 true position of each row of (K, n) bool."""
    first = occupied.int().argmax(dim=1)
    last = occupied.shape[1] - occupied.flip(1).int().argmax(dim=1)
    return first, last
