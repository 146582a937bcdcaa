"""The masks of an image as functions of its cells: dynamic kernels on mask features, and where they can be.

n cells, D channels, h x w the stride-4 map, in ``down`` x ``across`` tiles.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Optional, Tuple

import torch
import torch.nn.functional as F

from effps_solo.modeling.execution import cut_to
from effps_solo.modeling.mask_layers import Tiles
from effps_solo.modeling.upsampling import STRIDE, Size

from .position_prior import Gaussians

# Of the largest product that the Cauchy-Schwarz inequality allows; more than bf16 rounds.
_ROUNDING = 0.02
# Points around a mask whose logits matter: those that its border is interpolated from, one more where
# it votes beyond its border, and that one's neighbour.
_MARGIN = 2


@dataclass
class DynamicMasks:
    """The mask logits of the cells of one image.

    Attributes:
        kernels: (n, D) dynamic kernels, behind them the parameters of the position prior if there is one.
        features: (h, w, D), the channels last as in memory: what follows are products with each point's.
        centers: (n, 2) of the cells in pixels of the network's frame; None: there is no prior.
        extents: (n,) of the prior.
    """

    kernels: torch.Tensor
    features: torch.Tensor
    centers: Optional[torch.Tensor] = None
    extents: Optional[torch.Tensor] = None

    @property
    def size(self) -> Size:
        """(h, w)."""
        return self.features.shape[0], self.features.shape[1]

    def of(self, cells: torch.Tensor, size: Optional[Size] = None) -> "DynamicMasks":
        """Those of (k,) cells, on the (h, w) of ``size``: what lies beyond is padding."""
        features = self.features if size is None else cut_to(self.features, size, first=0)
        masks = replace(self, kernels=self.kernels[cells], features=features)
        if self.centers is not None and self.extents is not None:
            masks.centers, masks.extents = self.centers[cells], self.extents[cells]
        return masks

    def logits(self) -> torch.Tensor:
        """(n, h, w)."""
        dynamic = self.kernels[:, : self.features.shape[2]] @ self.features.flatten(0, 1).T
        logits = dynamic.unflatten(1, self.size)
        if self._prior is None:
            return logits
        of_rows, of_columns = self.prior_terms()
        return logits + of_rows[:, :, None] + of_columns[:, None, :]

    def prior_terms(self) -> Tuple[torch.Tensor, torch.Tensor]:
        """(n, h) and (n, w): what is added to the rows and columns of each mask, in at least fp32."""
        if self._prior is not None:
            return self._prior.terms(self.size)
        dtype = torch.promote_types(self.kernels.dtype, torch.float32)
        zeros = self.kernels.new_zeros(len(self.kernels), 1, dtype=dtype)
        return zeros.expand(-1, self.size[0]), zeros.expand(-1, self.size[1])

    @cached_property
    def _prior(self) -> Optional[Gaussians]:
        if self.centers is None or self.extents is None:
            return None
        return Gaussians.of(self.kernels[:, self.features.shape[2] :], self.centers, self.extents)

    def reach(self, tiles: Tiles) -> torch.Tensor:
        """(n, down, across) bool: False where no logit in a tile or next to it is above 0 for certain.

        A product is at most that of the lengths of kernel and features; the prior is known.
        """
        with torch.autocast(self.features.device.type, enabled=False):
            features, kernels = self.features.float(), self.kernels.float()
            products = kernels[:, : features.shape[2]].norm(dim=1)[:, None, None]
            lengths = features.norm(dim=2)[None]
            bounds = (1 + _ROUNDING) * products * tile_max(lengths, tiles, _MARGIN)
            if self._prior is not None:
                bounds = bounds + self._prior.bounds(tiles, _MARGIN)
            return bounds > 0


def cell_frame(features: torch.Tensor) -> torch.Tensor:
    """(2,) width and height in pixels of the network's frame, of (h, w, D) mask features."""
    height, width = features.shape[:2]
    return torch.tensor(
        [width * STRIDE, height * STRIDE], dtype=torch.float32, device=features.device
    )


def tile_max(maps: torch.Tensor, tiles: Tiles, margin: int = 0) -> torch.Tensor:
    """(k, h, w) >= 0 -> (k, down, across): the largest value in a tile and ``margin`` points around."""
    height, width = tiles.side
    missing = tiles.down * height - tiles.size[0], tiles.across * width - tiles.size[1]
    maps = F.pad(maps, (margin, margin + missing[1], margin, margin + missing[0]))
    size = (height + 2 * margin, width + 2 * margin)
    return F.max_pool2d(maps[None], size, stride=tiles.side)[0]
