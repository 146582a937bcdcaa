"""Steps of the decoding of SOLOv2 (section 3.3 and appendix A), pure functions.

They equal the published ones, but the order of equal scores is defined (the earlier one is the
better), and identical masks are no division by 0 in the linear kernel of Matrix NMS.

T thing classes, S_h x S_w cells a level, K candidates, h x w the stride-4 map.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from effps_solo.modeling.execution import indices_where

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


class Candidates(NamedTuple):
    """The (cell, class) pairs that get a mask, K of them.

    Attributes:
        scores: (K,) in descending order.
        cells, classes: (K,) int64.
        valid: (K,) bool, see :func:`effps_solo.modeling.execution.indices_where`.
    """

    scores: torch.Tensor
    cells: torch.Tensor
    classes: torch.Tensor
    valid: torch.Tensor


def select_candidates(scores: torch.Tensor, *, max_candidates: int, threshold: float) -> Candidates:
    """The best (cell, class) pairs, before any mask is made.

    Args:
        scores: (cells, T) after points NMS.
        max_candidates: at most so many.
        threshold: a candidate has a higher score.

    Returns:
        of equal scores the earlier pair comes first; which of them is the last to be taken is not defined.
    """
    num_classes = scores.shape[1]
    flat = scores.flatten()
    chosen = flat.topk(min(max_candidates, flat.shape[0])).indices.sort().values
    values, order = flat[chosen].sort(descending=True, stable=True)
    passes = values > threshold
    kept = indices_where(passes)
    chosen = chosen[order[kept]]
    return Candidates(values[kept], chosen // num_classes, chosen % num_classes, passes[kept])


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
    iou = same_class_iou(mask_intersections(masks), classes)
    return decayed_scores(iou, scores, kernel=kernel, sigma=sigma)


def decayed_scores(
    iou: torch.Tensor, scores: torch.Tensor, *, kernel: str, sigma: float
) -> torch.Tensor:
    """:func:`matrix_nms` on the (K, K) IoU of :func:`same_class_iou`."""
    if kernel not in ("gaussian", "linear"):
        raise ValueError(f"MODEL.SOLOV2.NMS_KERNEL is '{kernel}'; choose gaussian or linear")
    if scores.shape[0] == 0:
        return scores.clone()
    order = scores.argsort(descending=True, stable=True)
    iou = iou[order[:, None], order].triu(diagonal=1)
    worst = iou.max(dim=0).values[:, None]  # overlap of i with anything better than i
    if kernel == "gaussian":
        decay = torch.exp(-sigma * (iou.square() - worst.square()))
    else:
        # Without the bound three identical masks give 0 / 0.
        decay = (1 - iou) / (1 - worst).clamp(min=_MIN_LINEAR_DECAY)
    # The best mask overlaps nothing better (worst = 0), so the minimum is at most 1.
    decayed = scores[order] * decay.min(dim=0).values
    return torch.zeros_like(scores).scatter(0, order, decayed)


def same_class_iou(intersections: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """(K, K) IoU from :func:`mask_intersections`, 0 between classes and between empty masks."""
    areas = intersections.diagonal()
    union = areas[:, None] + areas - intersections
    return intersections / union.clamp(min=1) * (classes[:, None] == classes)


def mask_intersections(masks: torch.Tensor) -> torch.Tensor:
    """(K, h, w) bool masks -> (K, K) points that two masks share, as fp32."""
    inside = masks.flatten(1).float()
    # Counts above 256 are not exact in the low precision that autocast would choose.
    with torch.autocast(inside.device.type, enabled=False):
        return inside @ inside.T
