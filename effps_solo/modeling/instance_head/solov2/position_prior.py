"""A position prior on the masks of the efficient head, pure functions.

SOLOv2 separates two equal objects by position only through what a 1x1 kernel can read off coordinate
channels; a network needs thousands of images until the masks leave 0.5 everywhere and the dice loss
moves. Here the kernel branch also predicts where around its cell the object lies and how far it
reaches, and the logit of a Gaussian of that centre and extent is added to the dynamic convolution:
an untrained head already answers with a blob at the cell. This departs from the published head
(``MODEL.SOLOV2.VARIANT full`` has none of it).

K kernels; all lengths in pixels of the network input.
"""

from typing import NamedTuple, Sequence, Tuple

import torch

from effps_solo.modeling.mask_layers import Tiles
from effps_solo.modeling.upsampling import STRIDE

NUM_PARAMETERS = 5  # dx, dy, log x extent, log y extent, bias
PEAK_LOGIT = 2.0  # of an untrained prior, at its centre
MAX_LOG_EXTENT = 4.0
# The prior is 0 at 2 standard deviations, so an object reaches that far to each side.
DEVIATIONS_PER_SIZE = 4.0
_ROUNDING = 1 / 64  # pixels; more than what sums of coordinates are rounded by


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


class Gaussians(NamedTuple):
    """The priors of K kernels, in at least fp32.

    Attributes:
        centers, deviations: (K, 2) x, y in pixels.
        peaks: (K,) logits at the centres.
    """

    centers: torch.Tensor
    deviations: torch.Tensor
    peaks: torch.Tensor

    @classmethod
    def of(
        cls, parameters: torch.Tensor, cell_centers: torch.Tensor, extents: torch.Tensor
    ) -> "Gaussians":
        """
        Args:
            parameters: (K, 5) dx, dy (in units of the extent), log x extent, log y extent, bias.
            cell_centers: (K, 2) x, y of the grid cells.
            extents: (K,) base standard deviation of each kernel's level.
        """
        parameters = parameters.to(torch.promote_types(parameters.dtype, torch.float32))
        center = cell_centers + parameters[:, :2] * extents[:, None]
        log_extent = parameters[:, 2:4].clamp(-MAX_LOG_EXTENT, MAX_LOG_EXTENT)
        return cls(center, extents[:, None] * log_extent.exp(), PEAK_LOGIT + parameters[:, 4])

    def terms(self, size: Tuple[int, int]) -> Tuple[torch.Tensor, torch.Tensor]:
        """Logits at the stride-4 points of a map of (h, w), a sum of one term a row and one a column.

        Returns:
            (K, h) and (K, w), at most the peak and 0.
        """
        y, x = (
            (_pixels(size[axis], 1, self.centers) - self.centers[:, 1 - axis, None])
            / self.deviations[:, 1 - axis, None]
            for axis in (0, 1)
        )
        return self.peaks[:, None] - 0.5 * y.square(), -0.5 * x.square()

    def bounds(self, tiles: Tiles, margin: int = 0) -> torch.Tensor:
        """(K, down, across): the largest logit in each tile and ``margin`` points around it, or more."""
        y, x = (
            self._distances(1 - axis, count, side, margin)
            for axis, (count, side) in enumerate(zip((tiles.down, tiles.across), tiles.side))
        )
        return (self.peaks[:, None] - 0.5 * y.square())[:, :, None] - 0.5 * x.square()[:, None, :]

    def _distances(self, axis: int, count: int, side: int, margin: int) -> torch.Tensor:
        """(K, count) from the centres to the nearest points of tiles, in deviations; 0 inside."""
        reach = ((side - 1) / 2 + margin) * STRIDE + _ROUNDING
        middle = _pixels(count, side, self.centers) - self.centers[:, axis, None]
        return (middle.abs() - reach).clamp(min=0) / self.deviations[:, axis, None]


def _pixels(count: int, side: int, like: torch.Tensor) -> torch.Tensor:
    """(count,) where the middles of ``side`` stride-4 points each lie, in pixels."""
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) * (side * STRIDE)
