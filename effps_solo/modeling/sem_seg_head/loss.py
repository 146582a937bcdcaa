"""The loss of the semantic head, a pure function."""

import functools
import math
from typing import Optional, Sequence

import torch
import torch.nn.functional as F

_FAST_ROW = 16  # from this length on torch's softmax over rows uses vector instructions


def hard_pixel_cross_entropy(
    logits: torch.Tensor,
    target: torch.Tensor,
    *,
    top_fraction: float = 0.25,
    ignore_value: int = 255,
    class_weights: Sequence[float] = (),
) -> torch.Tensor:
    """Weighted log loss over the hardest pixels of each image (EfficientPS, section 3.3).

    Of the n labelled pixels of an image, those among the ``top_fraction`` with the largest loss weigh
    1 / (top_fraction * n), the others 0. They are ranked per image, as in the paper, so that the loss
    does not depend on how a batch is split. The released code ranks all pixels of a GPU's batch
    together, and padding and void count among them: a quarter of an image that fills a quarter of its
    crop is then all of it, and no pixel is hard.

    Args:
        logits: (N, C, H, W), any float type; the loss is computed in at least fp32.
        target: (N, H, W) int64, 0 .. C-1 or ``ignore_value``.
        top_fraction: in (0, 1].
        class_weights: C factors on the loss of the pixels of each class, by which they are ranked, too;
            empty: 1.

    Returns:
        scalar: the mean over the N images; 0, with a gradient of 0, where all pixels are ignored.

    Raises:
        ValueError: ``top_fraction`` is out of range.
    """
    if not 0 < top_fraction <= 1:
        raise ValueError(f"MODEL.SEM_SEG_HEAD.TOP_FRACTION must be in (0, 1], got {top_fraction}")
    logits = logits if logits.dtype == torch.float64 else logits.float()
    weight = logits.new_tensor(class_weights) if class_weights else None
    pixel_loss = _pixel_losses(logits, target, ignore_value, weight).flatten(1)
    labelled = (target != ignore_value).flatten(1).sum(dim=1, keepdim=True)
    num_hard = (top_fraction * labelled.double()).ceil().clamp(min=1)
    # As many as if all were labelled, so that no number has to come from a GPU.
    most = max(1, math.ceil(top_fraction * pixel_loss.shape[1]))
    hardest, _ = pixel_loss.topk(most, dim=1)
    is_hard = torch.arange(most, device=target.device) < num_hard
    return ((hardest * is_hard).sum(dim=1, keepdim=True) / num_hard.to(hardest)).mean()


def _pixel_losses(
    logits: torch.Tensor,
    target: torch.Tensor,
    ignore_value: int,
    weight: Optional[torch.Tensor],
) -> torch.Tensor:
    """(N, H, W) log losses times the (C,) ``weight`` of their class, 0 where ignored."""
    cross_entropy = functools.partial(
        F.cross_entropy, weight=weight, ignore_index=ignore_value, reduction="none"
    )
    if logits.shape[1] >= _FAST_ROW and logits.is_contiguous(memory_format=torch.channels_last):
        rows = logits.permute(0, 2, 3, 1).flatten(0, 2)  # one of each pixel: no copies
        return cross_entropy(rows, target.flatten()).view_as(target)
    return cross_entropy(logits, target)
