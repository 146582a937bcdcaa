"""Which instances stay in the map, and where they may have a vote; pure functions.

K instances, best first; h x w points of their maps.
"""

from typing import Iterable, List, Tuple

import torch

from effps_solo.modeling.execution import indices_where, works_in_parts
from effps_solo.modeling.upsampling import STRIDE, Size

Window = Tuple[slice, slice]  # rows and columns of points
SUPPORT_MARGIN = 1  # a mask's border lies up to one stride-4 point beyond its box
OVERLAP_ROUNDS = 8  # decides noise right; photographs need two or three
_NOBODY = 1 << 20  # above every rank; runtimes compute integers in fp32 at times


def without_overlaps(
    mask_logits: torch.Tensor, boxes: torch.Tensor, wanted: torch.Tensor, threshold: float
) -> torch.Tensor:
    """Visit the wanted masks in order; drop those that better ones already cover, and empty ones.

    Args:
        mask_logits: (K, h, w) at stride 4, above 0 inside.
        boxes: (K, 4) XYXY around the masks, in pixels.
        wanted: (K,) bool.
        threshold: a mask is dropped when more than this fraction of it is taken.

    Returns:
        (K,) bool, which stay.
    """
    if not works_in_parts(mask_logits):
        return kept_in_rounds(mask_logits > 0, wanted, threshold)
    size = (mask_logits.shape[1], mask_logits.shape[2])
    windows = support_windows(boxes, size)
    order = wanted.nonzero()[:, 0].tolist()
    kept = first_come(
        ((windows[k], mask_logits[k][windows[k]] > 0) for k in order), size, threshold
    )
    index = torch.tensor([order[i] for i in kept], dtype=torch.int64)
    return torch.zeros_like(wanted).index_fill(0, index, 1)


def first_come(
    masks: Iterable[Tuple[Window, torch.Tensor]], size: Size, threshold: float
) -> List[int]:
    """Numbers of the masks that stay, one after the other.

    Args:
        masks: window and (rows, columns) bool of each on a CPU.
        size: (h, w) of the map.
        threshold: of :func:`without_overlaps`.
    """
    taken = torch.zeros(size, dtype=torch.bool)
    kept = []
    for number, (window, mask) in enumerate(masks):
        area, overlap = int(mask.sum()), int((mask & taken[window]).sum())
        if area > 0 and overlap <= threshold * area:
            taken[window] |= mask
            kept.append(number)
    return kept


def kept_in_rounds(inside: torch.Tensor, wanted: torch.Tensor, threshold: float) -> torch.Tensor:
    """:func:`without_overlaps` without visiting one mask after the other.

    A round drops the masks that those which the round before has kept cover. After r rounds the
    outcome is right wherever a chain of masks that cover each other has at most r + 1 of them.

    Args:
        inside: (K, h, w) bool masks.
    """
    if not torch.compiler.is_compiling() and inside.shape[0] == 0:
        return wanted
    inside = inside.flatten(1)
    ones = inside.float()  # runtimes add floats up much faster; exact below 2^24
    areas = ones.sum(dim=1)
    wanted = wanted & (areas > 0)
    # What lies in one mask alone is not taken by another.
    claims = (ones.new_ones(1, ones.shape[0]) @ ones)[0]
    shared = inside.index_select(1, indices_where(claims > 1))
    rank = torch.arange(inside.shape[0], device=inside.device, dtype=torch.int32)[:, None]
    at_most, kept = threshold * areas, wanted
    for _ in range(OVERLAP_ROUNDS):
        holder = torch.where(shared & kept[:, None], rank, _NOBODY).amin(dim=0)
        taken = (shared & (holder < rank)).sum(dim=1)
        kept = wanted & (taken <= at_most)
    return kept


def support_windows(boxes: torch.Tensor, size: Size) -> List[Window]:
    """Rows and columns of the stride-4 points in or next to each box, where it has a vote.

    Args:
        boxes: (K, 4) XYXY in pixels of the network's frame.
        size: (h, w) of the stride-4 map.
    """
    return [
        (slice(max(y0, 0), min(max(y1, 0), size[0])), slice(max(x0, 0), min(max(x1, 0), size[1])))
        for x0, y0, x1, y1 in _support(boxes).int().tolist()
    ]


def in_support(boxes: torch.Tensor, size: Size) -> torch.Tensor:
    """(K, h, w) bool: the points of :func:`support_windows`."""
    x0, y0, x1, y1 = (edge[:, None] for edge in _support(boxes).unbind(dim=1))
    y = torch.arange(size[0], device=boxes.device)
    x = torch.arange(size[1], device=boxes.device)
    return ((y >= y0) & (y < y1))[:, :, None] & ((x >= x0) & (x < x1))[:, None, :]


def _support(boxes: torch.Tensor) -> torch.Tensor:
    """(K, 4) XYXY in stride-4 points, the last ones exclusive."""
    low = (boxes[:, :2] / STRIDE).floor() - SUPPORT_MARGIN
    high = (boxes[:, 2:] / STRIDE).ceil() + SUPPORT_MARGIN
    return torch.cat([low, high], dim=1)
