"""The losses of SOLOv2 (section 3.3), pure functions computed in at least fp32.

They equal the published ones, which ignore no cell and no pixel.
"""

from typing import Callable, Optional, Sequence

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from .targets import IGNORED

DICE_EPS = 1e-3


def _at_least_fp32(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def category_focal_loss(
    logits: torch.Tensor,
    category: torch.Tensor,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    class_weights: Sequence[float] = (),
) -> torch.Tensor:
    """Sigmoid focal loss over grid cells, summed; the caller divides by (positives + 1).

    Args:
        logits: (cells, T).
        category: (cells,) int64: 0 .. T-1, T for background, -1 for ignored.
        class_weights: T factors on the loss of the positive cells of each class; empty: 1.

    Returns:
        scalar.
    """
    logits = _at_least_fp32(logits)
    num_classes = logits.shape[1]
    target = torch.zeros_like(logits)
    positive = (category >= 0) & (category < num_classes)
    column = category.clamp(0, num_classes - 1)[:, None]
    target.scatter_(1, column, positive[:, None].to(target.dtype))
    loss = _focal_loss(logits, target, alpha, gamma)
    if class_weights:
        loss = loss * (1 + target * (loss.new_tensor(class_weights) - 1))
    return (loss * (category != IGNORED)[:, None]).sum()


def _focal_loss(
    logits: torch.Tensor, target: torch.Tensor, alpha: float, gamma: float
) -> torch.Tensor:
    """Focal loss (Lin et al., ICCV 2017) of each element, in its precision; fvcore's is fp32 only."""
    probability = logits.sigmoid()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    of_truth = probability * target + (1 - probability) * (1 - target)
    weight = alpha * target + (1 - alpha) * (1 - target)
    return weight * (cross_entropy * (1 - of_truth) ** gamma)


def dice_loss(
    mask_logits: torch.Tensor, targets: torch.Tensor, ignore: Optional[torch.Tensor] = None
) -> torch.Tensor:
    """1 - 2 sum(p t) / (sum(p^2) + sum(t^2)) per mask, with 1e-3 added to either sum below.

    Args:
        mask_logits: (P, h, w).
        targets: (P, h, w) in {0, 1}, any type.
        ignore: (h, w) or (P, h, w) bool; these pixels count in no sum.

    Returns:
        (P,) in [0, 1].
    """
    probability = _at_least_fp32(mask_logits).sigmoid()
    targets = targets.to(probability.dtype)
    if ignore is not None:
        keep = (~ignore).to(probability.dtype)
        probability, targets = probability * keep, targets * keep
    probability, targets = probability.flatten(1), targets.flatten(1)
    intersection = (probability * targets).sum(1)
    denominator = probability.square().sum(1) + targets.square().sum(1) + 2 * DICE_EPS
    return 1 - 2 * intersection / denominator


def in_chunks(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    cells: torch.Tensor,
    objects: torch.Tensor,
    *,
    size: int,
) -> torch.Tensor:
    """``loss(cells, objects)`` with what it makes of at most ``size`` cells in memory at a time.

    More cells are taken in chunks, each of them computed once more for its gradients.

    Args:
        loss: two (n,) index tensors -> (n, ...) losses of each pair.
        cells, objects: (P,).
        size: 0: no chunks.

    Returns:
        (P, ...).
    """
    if not 0 < size < len(cells):
        return loss(cells, objects)
    chunks = zip(cells.split(size), objects.split(size))
    return torch.cat([checkpoint(loss, *chunk, use_reentrant=False) for chunk in chunks])
