"""A position prior on the masks of the efficient head, a pure function.

SOLOv2 separates two equal objects by position only through what a 1x1 kernel can read off coordinate
channels; a network needs thousands of images until the masks leave 0.5 everywhere and the dice loss
moves. Here the kernel branch also predicts where around its cell the object lies and how far it
reaches, and the logit of a Gaussian of that centre and extent is added to the dynamic convolution:
an untrained head already answers with a blob at the cell. This departs from the published head
(``MODEL.SOLOV2.VARIANT full`` has none of it).

K kernels; all lengths in pixels of the network input.
"""

from typing import Sequence, Tuple

import torch

from .targets import MASK_STRIDE

NUM_PARAMETERS = 5  # dx, dy, log x extent, log y extent, bias
PEAK_LOGIT = 2.0  # of an untrained prior, at its centre
MAX_LOG_EXTENT = 4.0
# The prior is 0 at 2 standard deviations, so an object reaches that far to each side.
DEVIATIONS_PER_SIZE = 4.0


def base_extents(scale_ranges: Sequence[Tuple[float, float]]) -> Tuple[float, ...]:
    """Standard deviation in pixels of an untrained prior on each level.

    Twice the lower end of the range stands for the size of a level's objects; the first level,
    whose range starts at 1 px, takes a quarter of its upper end.
    """
    sizes = [
        max(2.0 * low, high / 4) if i == 0 else 2.0 * low
        for i, (low, high) in enumerate(scale_ranges)
    ]
    return tuple(size / DEVIATIONS_PER_SIZE for size in sizes)


def position_prior_logits(
    parameters: torch.Tensor,
    cell_centers: torch.Tensor,
    extents: torch.Tensor,
    size: Tuple[int, int],
    rows: slice = slice(None),
) -> torch.Tensor:
    """Logits of the prior at the stride-4 points.

    Args:
        parameters: (K, 5) dx, dy (in units of the extent), log x extent, log y extent, bias.
        cell_centers: (K, 2) x, y of the grid cells.
        extents: (K,) base standard deviation of each kernel's level.
        size: (h, w) of the stride-4 map.
        rows: which of its rows.

    Returns:
        (K, h or len(rows), w) in at least fp32, at most PEAK_LOGIT + bias.
    """
    parameters = parameters.to(torch.promote_types(parameters.dtype, torch.float32))
    center = cell_centers + parameters[:, :2] * extents[:, None]
    log_extent = parameters[:, 2:4].clamp(-MAX_LOG_EXTENT, MAX_LOG_EXTENT)
    extent = extents[:, None] * log_extent.exp()
    x = _distance(center[:, 0], extent[:, 0], size[1])
    y = _distance(center[:, 1], extent[:, 1], size[0])[:, rows]
    peak = PEAK_LOGIT + parameters[:, 4]
    return (peak[:, None] - 0.5 * y.square())[:, :, None] - 0.5 * x.square()[:, None, :]


def _distance(center: torch.Tensor, extent: torch.Tensor, count: int) -> torch.Tensor:
    """(K, count): distance of the stride-4 points from the centres, in standard deviations."""
    points = (torch.arange(count, device=center.device, dtype=center.dtype) + 0.5) * MASK_STRIDE
    return (points - center[:, None]) / extent[:, None]
