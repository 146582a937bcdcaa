"""The masks of an image as functions of its cells: dynamic kernels on mask features, and where they can be.

n cells, D channels, h x w the stride-4 map, T the side of the square tiles that cover it in
ceil(h/T) x ceil(w/T).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Optional, Tuple

import torch
import torch.nn.functional as F

from effps_solo.modeling.detections import boxes_from_extents
from effps_solo.modeling.upsampling import STRIDE

from .inference import TILE, tiles_in_reach
from .position_prior import position_prior_bounds, position_prior_terms

# Of the largest product that the Cauchy-Schwarz inequality allows; more than bf16 rounds.
_ROUNDING = 0.02
FAR_LOGIT = -10.0  # of points far from a mask
# Points around a mask whose logits matter: those that its border is interpolated from, one more where
# it votes beyond its border, and that one's neighbour.
_MARGIN = 2


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

    def of(self, cells: torch.Tensor) -> "DynamicMasks":
        """Those of (k,) cells."""
        if self.centers is None or self.extents is None:
            return DynamicMasks(self.kernels[cells], self.features)
        return DynamicMasks(
            self.kernels[cells], self.features, self.centers[cells], self.extents[cells]
        )

    def logits(
        self,
        cells: Optional[torch.Tensor] = None,
        rows: slice = slice(None),
        columns: slice = slice(None),
    ) -> torch.Tensor:
        """(k, h, w) of (k,) cells or of all, or some rows and columns of them."""
        features, kernels = self.features[:, rows, columns], self.kernels
        kernels = kernels if cells is None else kernels.index_select(0, cells)
        dynamic = kernels[:, : len(features)] @ features.flatten(1)
        logits = dynamic.unflatten(1, features.shape[1:])
        if self._prior is None:
            return logits
        of_rows, of_columns = self._prior[0][:, rows], self._prior[1][:, columns]
        if cells is not None:
            of_rows, of_columns = of_rows.index_select(0, cells), of_columns.index_select(0, cells)
        return logits + of_rows[:, :, None] + of_columns[:, None, :]

    @cached_property
    def _prior(self) -> Optional[Tuple[torch.Tensor, torch.Tensor]]:
        """(n, h) and (n, w): the terms of the position prior."""
        if self.centers is None or self.extents is None:
            return None
        parameters = self.kernels[:, len(self.features) :]
        size = (self.features.shape[1], self.features.shape[2])
        return position_prior_terms(parameters, self.centers, self.extents, size)

    def whole(
        self, cells: torch.Tensor, reach: torch.Tensor, size: Tuple[int, int]
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """The maps of k cells and the boxes of their points above 0, tile by tile.

        Args:
            cells: (k,).
            reach: (k, tiles down, tiles across) of :meth:`reach`.
            size: (h, w) of the maps; what lies beyond is padding.

        Returns:
            (k, h, w) logits in at least fp32, FAR_LOGIT where no point within two is in reach;
            (k, 4) float XYXY in points, zeros where a mask is empty.
        """
        dtype = torch.promote_types(self.features.dtype, torch.float32)
        maps = torch.full((len(cells), *size), FAR_LOGIT, dtype=dtype, device=cells.device)
        in_row, in_column = (
            torch.zeros(len(cells), side, dtype=torch.bool, device=cells.device) for side in size
        )
        for members, rows, columns in tiles_in_reach(reach, size):
            rows, columns = _with_margin(rows, size[0]), _with_margin(columns, size[1])
            logits = self.logits(cells[members], rows, columns).to(dtype)
            maps[members, rows, columns] = logits
            in_row[members, rows] |= logits.amax(dim=2) > 0
            in_column[members, columns] |= logits.amax(dim=1) > 0
        return maps, boxes_from_extents(in_column, in_row)

    def reach(self, tile: int = TILE) -> torch.Tensor:
        """(n, tiles down, tiles across) bool: False where no logit of a cell is above 0 for certain.

        A product is at most that of the lengths of kernel and features; the prior is known.
        """
        with torch.autocast(self.features.device.type, enabled=False):
            return self._bounds(tile) > 0

    def _bounds(self, tile: int) -> torch.Tensor:
        features, kernels = self.features.float(), self.kernels.float()
        # Six times faster than a norm over the first dimension.
        longest = tile_max(features.square().sum(dim=0, keepdim=True).sqrt(), tile)
        products = kernels[:, : len(features)].norm(dim=1)[:, None, None] * longest
        bounds = (1 + _ROUNDING) * products
        if self.centers is None or self.extents is None:
            return bounds
        return bounds + position_prior_bounds(
            kernels[:, len(features) :],
            self.centers,
            self.extents,
            (features.shape[1], features.shape[2]),
            tile,
        )


def _with_margin(points: slice, count: int) -> slice:
    """The points of a tile and those next to it, of ``count``."""
    return slice(max(points.start - _MARGIN, 0), min(points.stop + _MARGIN, count))


def cell_frame(features: torch.Tensor) -> torch.Tensor:
    """(2,) width and height in pixels of the network's frame, of (..., h, w) mask features."""
    height, width = features.shape[-2:]
    return torch.tensor(
        [width * STRIDE, height * STRIDE], dtype=torch.float32, device=features.device
    )


def tile_max(maps: torch.Tensor, tile: int) -> torch.Tensor:
    """(k, h, w) -> (k, tiles down, tiles across), the largest value of each tile."""
    return F.max_pool2d(maps[None], tile, ceil_mode=True)[0]
