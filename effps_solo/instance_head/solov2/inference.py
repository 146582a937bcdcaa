"""Steps of the decoding of SOLOv2 (section 3.3 and appendix A), pure functions.

They equal the published ones, but the order of equal scores is defined (the earlier one is the
better), and identical masks are no division by 0 in the linear kernel of Matrix NMS.

T thing classes, S_h x S_w cells a level, K candidates, h x w the stride-4 map.
"""

from typing import Tuple

import torch
import torch.nn.functional as F

_MIN_LINEAR_DECAY = 1e-6


def points_nms(scores: torch.Tensor) -> torch.Tensor:
    """Keep a cell's score where no upper, left or upper-left neighbour of its class beats it.

    The window is asymmetric and ties keep both, as published.

    Args:
        scores: (N, T, S_h, S_w) in [0, 1].

    Returns:
        (N, T, S_h, S_w), 0 at suppressed cells.
    """
    local_max = F.max_pool2d(scores, kernel_size=2, stride=1, padding=1)[..., :-1, :-1]
    return scores * (local_max == scores)


def select_candidates(
    scores: torch.Tensor, *, threshold: float, max_candidates: int
) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The best (cell, class) pairs above ``threshold``, before any mask is made.

    Args:
        scores: (cells, T) after points NMS.

    Returns:
        scores (K,) in descending order, cells (K,) and classes (K,); K <= ``max_candidates``.
    """
    num_classes = scores.shape[1]
    flat = scores.flatten()
    above = (flat > threshold).nonzero().squeeze(1)
    values, order = flat[above].sort(descending=True, stable=True)
    order = order[:max_candidates]
    chosen = above[order]
    return values[:max_candidates], chosen // num_classes, chosen % num_classes


def mask_areas_and_maskness(mask_logits: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    """Area and mean probability inside each mask, the pixels with a logit above 0.

    Args:
        mask_logits: (K, h, w).

    Returns:
        areas (K,) in stride-4 pixels, maskness (K,) in [0.5, 1], or 0 where the mask is empty.
    """
    inside = mask_logits > 0
    areas = inside.flatten(1).sum(1)
    total = (mask_logits.float().sigmoid() * inside).flatten(1).sum(1)
    return areas, total / areas.clamp(min=1)


def matrix_nms(
    masks: torch.Tensor,
    classes: torch.Tensor,
    scores: torch.Tensor,
    *,
    kernel: str = "gaussian",
    sigma: float = 2.0,
) -> torch.Tensor:
    """Matrix NMS: decay each score by its overlap with better masks of the same class.

    decay_j = min over better i of f(iou_ij) / f(max over better k of iou_ki), with
    f = exp(-sigma iou^2) or 1 - iou. The paper writes exp(-iou^2 / sigma) with sigma 0.5: equal.

    Args:
        masks: (K, h, w) bool, in any order.
        classes: (K,) int64.
        scores: (K,).
        kernel: "gaussian" or "linear".
        sigma: factor of the gaussian kernel.

    Returns:
        (K,) decayed scores in the order of the input.

    Raises:
        ValueError: unknown kernel.
    """
    if kernel not in ("gaussian", "linear"):
        raise ValueError(f"MODEL.SOLOV2.NMS_KERNEL is '{kernel}'; choose gaussian or linear")
    if len(scores) == 0:
        return scores.clone()
    order = scores.argsort(descending=True, stable=True)
    iou = same_class_iou(masks[order], classes[order]).triu(diagonal=1)
    worst = iou.max(dim=0).values[:, None]  # overlap of i with anything better than i
    if kernel == "gaussian":
        decay = torch.exp(-sigma * (iou.square() - worst.square()))
    else:
        # Without the bound three identical masks give 0 / 0.
        decay = (1 - iou) / (1 - worst).clamp(min=_MIN_LINEAR_DECAY)
    # The best mask overlaps nothing better (worst = 0), so the minimum is at most 1.
    decayed = torch.empty_like(scores)
    decayed[order] = scores[order] * decay.min(dim=0).values
    return decayed


def same_class_iou(masks: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """(K, K) mask IoU, 0 between classes and between empty masks."""
    flat = masks.flatten(1).float()
    # Areas above 256 points are not exact in the low precision that autocast would choose.
    with torch.autocast(masks.device.type, enabled=False):
        intersection = flat @ flat.T
    areas = flat.sum(1)
    union = areas[:, None] + areas - intersection
    iou = intersection / union.clamp(min=1)
    return iou * (classes[:, None] == classes)


def boxes_from_masks(masks: torch.Tensor) -> torch.Tensor:
    """Tight boxes of masks.

    Args:
        masks: (K, h, w) bool.

    Returns:
        (K, 4) float XYXY in mask pixels, x1 and y1 exclusive; zeros where a mask is empty.
    """
    columns, rows = masks.any(dim=1), masks.any(dim=2)
    (x0, x1), (y0, y1) = _extent(columns), _extent(rows)
    boxes = torch.stack([x0, y0, x1, y1], dim=1).float()
    return boxes * rows.any(dim=1)[:, None]


def _extent(occupied: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
    """First and last + 1 true position of each row of (K, n) bool."""
    first = occupied.int().argmax(dim=1)
    last = occupied.shape[1] - occupied.flip(1).int().argmax(dim=1)
    return first, last
