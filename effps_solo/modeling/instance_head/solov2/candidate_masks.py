"""The masks of the candidates of an image: what decides about them, and the layers of those that stay.

Everything is made tile by tile, each with the masks that may reach into it: masks that are far cost nothing.

K candidates, D channels; the map has G = down * across tiles of P = T * T points, see
:mod:`effps_solo.modeling.mask_layers`.
"""

from functools import cached_property
from typing import Iterator, NamedTuple, Tuple

import torch
import torch.nn.functional as F

from effps_solo.modeling.execution import is_known, works_in_parts
from effps_solo.modeling.instance_head.base import Index
from effps_solo.modeling.mask_layers import TILE, MaskLayers, Tiles, layers_of, owners_of

from .dynamic_masks import DynamicMasks

_NOWHERE = -1e4  # a logit that nothing outweighs
_MASKS_AT_ONCE = 512  # tiles of them, on a CPU, for its caches


class MaskMeasures(NamedTuple):
    """What decides about K masks, the points with a logit above 0.

    Attributes:
        areas: (K,) fp32, how many points.
        maskness: (K,) their mean probability, in [0.5, 1]; 0 where there is none.
        intersections: (K, K) fp32, how many points two masks share.
    """

    areas: torch.Tensor
    maskness: torch.Tensor
    intersections: torch.Tensor


class CandidateMasks:
    """The masks of K candidates."""

    def __init__(self, masks: DynamicMasks) -> None:
        """
        Args:
            masks: of the K candidates, without padding.
        """
        side, size = (TILE, TILE), masks.size
        if masks.centers is None and not works_in_parts(masks.kernels):
            side = size  # without a prior nothing tells where masks are: all tiles would be full
        elif not is_known(size):
            # A graph for any size is one for at least two tiles each way; its smallest map has 24 points.
            side = (TILE // 2, TILE // 2)
        self._masks, self._tiles = masks, Tiles(size, side)
        self._reach = masks.reach(self._tiles)

    def measures(self) -> MaskMeasures:
        """Of all candidates."""
        count = self._reach.shape[0]
        areas = self._reach.new_zeros(count + 1, dtype=torch.float32)  # at last nobody's
        totals, shared = torch.zeros_like(areas), areas.new_zeros((count + 1) ** 2)
        for tiles, members in self._parts(owners_of(self._reach).flatten(1).T):
            logits = self._logits(tiles, members).float()
            inside = (logits > 0).float()
            pairs = members[:, :, None] * (count + 1) + members[:, None, :]
            members = members.flatten()
            areas = areas.scatter_add(0, members, inside.sum(dim=2).flatten())
            totals = totals.scatter_add(
                0, members, (logits.sigmoid() * inside).sum(dim=2).flatten()
            )
            # Counts above 256 are not exact in the low precision that autocast would choose.
            with torch.autocast(inside.device.type, enabled=False):
                both = inside @ inside.transpose(1, 2)
            shared.scatter_add_(0, pairs.flatten(), both.flatten())
        shared = shared.view(count + 1, count + 1)[:-1, :-1]
        return MaskMeasures(areas[:-1], totals[:-1] / areas[:-1].clamp(min=1), shared)

    def layers(self, chosen: torch.Tensor) -> MaskLayers:
        """Of (k,) candidates."""
        reach = self._reach.index_select(0, chosen)
        owners = owners_of(reach)
        candidates = torch.cat([chosen, chosen.new_full((1,), self._reach.shape[0])])
        members = candidates.index_select(0, owners.flatten()).view_as(owners).flatten(1).T
        maps = self._logits(slice(None), members).unflatten(2, self._tiles.side).transpose(0, 1)
        maps = maps.unflatten(1, (self._tiles.down, self._tiles.across)).transpose(2, 3)
        return MaskLayers(self._tiles.join(maps), owners, layers_of(reach, owners), self._tiles)

    def _parts(self, members: torch.Tensor) -> Iterator[Tuple[Index, torch.Tensor]]:
        """Of (G, m) members: all at once; on a CPU some tiles with about as many, and no more than that."""
        if not works_in_parts(members):
            yield slice(None), members
            return
        depth, order = self._reach.flatten(1).sum(dim=0).sort(descending=True)
        tiles, start = order[depth > 0], 0
        while start < len(tiles):
            deepest = int(depth[start])
            some = tiles[start : start + max(1, _MASKS_AT_ONCE // deepest)]
            yield some, members[some, :deepest]
            start += len(some)

    def _logits(self, tiles: Index, members: torch.Tensor) -> torch.Tensor:
        """(g, m, P) of g tiles and (g, m) candidates in them, in at least fp32; far below 0 of nobody."""
        kernels, features, of_rows, of_columns = self._factors
        down, across = (x[tiles, None] for x in self._places)

        def picked(terms: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
            """(n, D) and (g, m) -> (g, m, D)."""
            return terms.index_select(0, number.flatten()).unflatten(0, members.shape)

        row = picked(of_rows.flatten(0, 1), members * of_rows.shape[1] + down)
        column = picked(of_columns.flatten(0, 1), members * of_columns.shape[1] + across)
        logits = (picked(kernels, members) @ features[tiles]).to(row.dtype)
        logits = logits.unflatten(2, self._tiles.side)
        return (logits + row[:, :, :, None] + column[:, :, None, :]).flatten(2)

    @cached_property
    def _places(self) -> Tuple[torch.Tensor, torch.Tensor]:
        """(G,) row and column of each tile."""
        down, across = self._tiles.down, self._tiles.across
        number = torch.arange(down * across, device=self._reach.device)
        row = number // across
        # No remainder: ONNX has none of a number that is not known at export.
        return row, number - row * across

    @cached_property
    def _factors(self) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Kernels (K + 1, D), features (G, D, P), and the prior's terms (K + 1, down, T), (K + 1, across, T).

        The last of K + 1 is nobody's, far below 0 like what lies beyond the map.
        """
        tiles, masks = self._tiles, self._masks
        features = tiles.split_points(masks.features, 0.0)
        features = features.transpose(1, 2).flatten(2, 3).flatten(0, 1).transpose(1, 2)
        of_rows, of_columns = (
            F.pad(terms, (0, count * side - terms.shape[1], 0, 1), value=_NOWHERE).unflatten(
                1, (count, side)
            )
            for terms, count, side in zip(
                masks.prior_terms(), (tiles.down, tiles.across), tiles.side
            )
        )
        kernels = F.pad(masks.kernels[:, : masks.features.shape[2]], (0, 0, 0, 1))
        return kernels, features, of_rows, of_columns
