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

from effps_solo.modeling.upsampling import STRIDE

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


def position_prior_terms(
    parameters: torch.Tensor,
    cell_centers: torch.Tensor,
    extents: torch.Tensor,
    size: Tuple[int, int],
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Logits of the prior at the stride-4 points, which are a sum of one term a row and one a column.

    Args:
        parameters: (K, 5) dx, dy (in units of the extent), log x extent, log y extent, bias.
        cell_centers: (K, 2) x, y of the grid cells.
        extents: (K,) base standard deviation of each kernel's level.
        size: (h, w) of the stride-4 map.

    Returns:
        (K, h) and (K, w) in at least fp32, at most PEAK_LOGIT + bias and 0.
    """
    center, extent, peak = _gaussians(parameters, cell_centers, extents)
    x = (_points(size[1], center) - center[:, :1]) / extent[:, :1]
    y = (_points(size[0], center) - center[:, 1:]) / extent[:, 1:]
    return peak[:, None] - 0.5 * y.square(), -0.5 * x.square()


def position_prior_bounds(
    parameters: torch.Tensor,
    cell_centers: torch.Tensor,
    extents: torch.Tensor,
    size: Tuple[int, int],
    tile: int,
) -> torch.Tensor:
    """The largest value of the prior in each tile, or more.

    Args:
        parameters, cell_centers, extents, size: of :func:`position_prior_terms`.
        tile: side of the square tiles in stride-4 points.

    Returns:
        (K, ceil(h / tile), ceil(w / tile)).
    """
    center, extent, peak = _gaussians(parameters, cell_centers, extents)
    x = _tile_distance(center[:, :1], size[1], tile) / extent[:, :1]
    y = _tile_distance(center[:, 1:], size[0], tile) / extent[:, 1:]
    return (peak[:, None] - 0.5 * y.square())[:, :, None] - 0.5 * x.square()[:, None, :]


def _gaussians(
    parameters: torch.Tensor, cell_centers: torch.Tensor, extents: torch.Tensor
) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Centres (K, 2) and standard deviations (K, 2) in pixels, logits at the centres (K,)."""
    parameters = parameters.to(torch.promote_types(parameters.dtype, torch.float32))
    center = cell_centers + parameters[:, :2] * extents[:, None]
    log_extent = parameters[:, 2:4].clamp(-MAX_LOG_EXTENT, MAX_LOG_EXTENT)
    return center, extents[:, None] * log_extent.exp(), PEAK_LOGIT + parameters[:, 4]


def _points(count: int, like: torch.Tensor) -> torch.Tensor:
    """(count,) where the stride-4 points lie, in pixels."""
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) * STRIDE


def _tile_distance(center: torch.Tensor, count: int, tile: int) -> torch.Tensor:
    """(K, tiles): pixels from (K, 1) centres to the nearest points of each tile, 0 inside."""
    points = _points(count, center)
    first = points[::tile]
    last = torch.cat([points[tile - 1 :: tile], points[-1:]])[: len(first)]
    return torch.maximum(first - center, center - last).clamp(min=0)
