"""The masks of an image as functions of its cells: dynamic kernels on mask features, and where they can be.

n cells, D channels, h x w the stride-4 map, T the side of the square tiles that cover it in
ceil(h/T) x ceil(w/T).
"""

from dataclasses import dataclass
from typing import Optional

import torch
import torch.nn.functional as F

from .position_prior import position_prior_bounds, position_prior_logits
from .targets import MASK_STRIDE

# Of the largest product that the Cauchy-Schwarz inequality allows; more than bf16 rounds.
_ROUNDING = 0.02


@dataclass
class DynamicMasks:
    """The mask logits of the cells of one image.

    Attributes:
        kernels: (n, D) dynamic kernels, behind them the parameters of the position prior if there is one.
        features: (D, h, w).
        centers: (n, 2) of the cells in pixels of the network's frame; None: there is no prior.
        extents: (n,) of the prior.
    """

    kernels: torch.Tensor
    features: torch.Tensor
    centers: Optional[torch.Tensor] = None
    extents: Optional[torch.Tensor] = None

    def logits(
        self, cells: torch.Tensor, rows: slice = slice(None), columns: slice = slice(None)
    ) -> torch.Tensor:
        """(k, h, w) of k cells, or some rows and columns of them."""
        features, kernels = self.features[:, rows, columns], self.kernels[cells]
        dynamic = kernels[:, : len(features)] @ features.flatten(1)
        logits = dynamic.unflatten(1, features.shape[1:])
        if self.centers is None or self.extents is None:
            return logits
        return logits + position_prior_logits(
            kernels[:, len(features) :],
            self.centers[cells],
            self.extents[cells],
            (self.features.shape[1], self.features.shape[2]),
            rows,
            columns,
        )

    def reach(self, cells: torch.Tensor, tile: int) -> torch.Tensor:
        """(k, tiles down, tiles across) bool: False where no logit of a cell is above 0 for certain.

        A product is at most that of the lengths of kernel and features; the prior is known.
        """
        with torch.autocast(self.features.device.type, enabled=False):
            return self._bounds(cells, tile) > 0

    def _bounds(self, cells: torch.Tensor, tile: int) -> torch.Tensor:
        features, kernels = self.features.float(), self.kernels[cells].float()
        longest = tile_max(features.square().sum(dim=0, keepdim=True).sqrt(), tile)
        products = kernels[:, : len(features)].norm(dim=1)[:, None, None] * longest
        bounds = (1 + _ROUNDING) * products
        if self.centers is None or self.extents is None:
            return bounds
        return bounds + position_prior_bounds(
            kernels[:, len(features) :],
            self.centers[cells],
            self.extents[cells],
            (features.shape[1], features.shape[2]),
            tile,
        )


def cell_frame(features: torch.Tensor) -> torch.Tensor:
    """(2,) width and height in pixels of the network's frame, of (..., h, w) mask features."""
    height, width = features.shape[-2:]
    return torch.tensor(
        [width * MASK_STRIDE, height * MASK_STRIDE], dtype=torch.float32, device=features.device
    )


def tile_max(maps: torch.Tensor, tile: int) -> torch.Tensor:
    """(k, h, w) -> (k, tiles down, tiles across), the largest value of each tile."""
    return F.max_pool2d(maps[None], tile, ceil_mode=True)[0]
