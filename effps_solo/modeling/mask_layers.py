"""The masks of an image in few maps: a layer is a map whose tiles belong to different masks.

Masks are small and many: as one map each they are mostly emptiness that every step would have to pass over.
Here a mask has only the tiles that it may reach into, and each of them is in the first layer where it is
free. There are as many layers as masks in the fullest tile, and a step over layers is the same operation on
a CPU, on a GPU and in an exported graph, none of which loops over masks.

K masks in M layers, the last of which is empty; h x w points in ``down`` x ``across`` tiles of T x T.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Tuple

import torch
import torch.nn.functional as F

from .execution import cut_to, indices_where, is_known
from .upsampling import Size

TILE = 32
FAR_LOGIT = -10.0  # of points far from a mask


class Tiles(NamedTuple):
    """The tiles that cover a map of (h, w) points; those at its end may reach beyond it."""

    size: Size
    side: Size = (TILE, TILE)

    @property
    def down(self) -> int:
        return (self.size[0] + self.side[0] - 1) // self.side[0]  # runtimes round negative ones up

    @property
    def across(self) -> int:
        return (self.size[1] + self.side[1] - 1) // self.side[1]

    def split(self, maps: torch.Tensor, beyond: float) -> torch.Tensor:
        """(n, h, w) -> (n, down, T, across, T), ``beyond`` where there is no point."""
        return self._split(maps, 1, beyond)

    def split_points(self, points: torch.Tensor, beyond: float) -> torch.Tensor:
        """(h, w, n) -> (down, T, across, T, n); see :meth:`split`."""
        return self._split(points, 0, beyond)

    def _split(self, maps: torch.Tensor, first: int, beyond: float) -> torch.Tensor:
        """The dimensions ``first`` and the next one of ``maps``, in tiles."""
        down, across = self.down * self.side[0], self.across * self.side[1]
        missing = down - self.size[0], across - self.size[1]
        if not is_known(self.size) or missing != (0, 0):
            behind = (0, 0) * (maps.dim() - first - 2)
            maps = F.pad(maps, (*behind, 0, missing[1], 0, missing[0]), value=beyond)
        maps = maps.unflatten(first + 1, (self.across, self.side[1]))
        return maps.unflatten(first, (self.down, self.side[0]))

    def join(self, tiles: torch.Tensor) -> torch.Tensor:
        """(n, down, T, across, T) -> (n, h, w), contiguous."""
        return cut_to(tiles.flatten(3, 4).flatten(1, 2), self.size).contiguous()

    def pick(self, maps: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        """(n, down, T, across, T) maps, (k, down, across) which of them -> (k, down, T, across, T)."""
        rows = torch.arange(self.down * self.side[0], device=maps.device).view(1, self.down, -1, 1)
        columns = torch.arange(self.across, device=maps.device)
        height = self.down * self.side[0]
        index = (chosen[:, :, None] * height + rows) * self.across + columns
        # A row of a tile is one piece of memory.
        picked = maps.reshape(-1, self.side[1]).index_select(0, index.flatten())
        return picked.unflatten(0, index.shape)

    def numbers(self, device: torch.device) -> torch.Tensor:
        """(h, w) int64: in which tile each point is, row by row."""
        rows, columns = (
            torch.arange(length, device=device) // side
            for length, side in zip(self.size, self.side)
        )
        return rows[:, None] * self.across + columns

    def coordinates(self, device: torch.device) -> Tuple[torch.Tensor, torch.Tensor]:
        """Row (down, T, 1) and column (across, T) of each point."""
        rows, columns = (
            torch.arange(count * side, device=device).view(count, side)
            for count, side in zip((self.down, self.across), self.side)
        )
        return rows[:, :, None], columns


@dataclass
class MaskLayers:
    """The logits of K masks, best first.

    Attributes:
        logits: (M, h, w) in at least fp32, FAR_LOGIT or less in the tiles of nobody.
        owners: (M, down, across) int64, whose each tile is, ascending from layer to layer; K: nobody's.
        layers: (K, down, across) int64, in which layer each tile of a mask is; in the last one if it is far.
        tiles: of the maps.
    """

    logits: torch.Tensor
    owners: torch.Tensor
    layers: torch.Tensor
    tiles: Tiles

    def __len__(self) -> int:
        return len(self.layers)

    @classmethod
    def of_maps(cls, maps: torch.Tensor, boxes: torch.Tensor) -> "MaskLayers":
        """Of masks that are maps; what lies outside of their supports is far.

        Args:
            maps: (K, h, w) logits.
            boxes: (K, 4) XYXY of their supports in points, the last ones exclusive.
        """
        tiles = Tiles((maps.shape[1], maps.shape[2]))
        reach = in_boxes(boxes, tiles)
        owners = owners_of(reach)
        maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
        maps = tiles.split(F.pad(maps, (0, 0, 0, 0, 0, 1), value=FAR_LOGIT), FAR_LOGIT)
        return cls(tiles.join(tiles.pick(maps, owners)), owners, layers_of(reach, owners), tiles)

    @classmethod
    def whole(cls, maps: torch.Tensor) -> "MaskLayers":
        """Of (K, h, w) maps, each of them a layer."""
        size = (maps.shape[1], maps.shape[2])
        number = torch.arange(len(maps), device=maps.device)[:, None, None]
        return cls(maps, number, number, Tiles(size, size))

    def of(self, chosen: torch.Tensor) -> "MaskLayers":
        """Those of (k,) numbers, or where (K,) bool holds; in the order of before, for ``owners`` ascend."""
        number = torch.arange(len(self), device=self.owners.device)[chosen]
        renumbered = number.new_full((len(self) + 1,), len(number))
        renumbered[number] = torch.arange(len(number), device=number.device)
        return MaskLayers(self.logits, renumbered[self.owners], self.layers[number], self.tiles)

    def maps(self) -> torch.Tensor:
        """(K, h, w) logits, FAR_LOGIT far from a mask."""
        logits = self.tiles.split(self.logits, FAR_LOGIT)
        return self.tiles.join(self.tiles.pick(logits, self.layers))

    def boxes(self) -> torch.Tensor:
        """(K, 4) float XYXY around the points above 0, the last ones exclusive; zeros where there is none."""
        logits = self.tiles.split(self.logits, FAR_LOGIT)
        rows, columns = self.tiles.coordinates(self.logits.device)
        # Of the columns and of the rows of each tile (M, down, across, T) the highest logit.
        edges = []
        for highest, position in (
            (logits.amax(dim=2), columns),
            (logits.amax(dim=4).transpose(2, 3), rows.transpose(1, 2)),
        ):
            farthest = torch.stack([-position, position + 1], dim=-2)  # of first and last
            there = (highest > 0)[..., None, :]
            edges.append(torch.where(there, farthest, -sum(self.tiles.size)).amax(dim=4))
        of_tiles = torch.cat(edges, dim=3)  # (M, down, across, 4)
        of_masks = of_tiles.gather(0, self.layers[..., None].expand(-1, -1, -1, 4)).amax(dim=(1, 2))
        x0, x1, y0, y1 = of_masks.unbind(dim=1)
        boxes = torch.stack([-x0, -y0, x1, y1], dim=1).float()
        return boxes * (x1 > 0)[:, None]

    def at(self, masks: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """(n, P, B) logits of (n, B) masks at (P, B) points y * w + x each."""
        tile = self.tile_of_point.index_select(0, points.flatten()).view_as(points)
        which = masks[:, None] * (self.tiles.down * self.tiles.across) + tile
        start = self.layers.flatten() * self.tile_of_point.shape[0]
        index = start.index_select(0, which.flatten()).view_as(which) + points
        return self.logits.flatten().index_select(0, index.flatten()).view_as(index)

    def owner_at(self, layers: torch.Tensor, tiles: torch.Tensor) -> torch.Tensor:
        """(P,) int64: whose (P,) ``tiles`` of (P,) ``layers`` are."""
        owners = self.owners.flatten(1)
        return owners.flatten().index_select(0, layers * owners.shape[1] + tiles)

    @cached_property
    def tile_of_point(self) -> torch.Tensor:
        """(h * w,) int64, of the points y * w + x."""
        return self.tiles.numbers(self.owners.device).flatten()

    def of_owners(self, values: torch.Tensor) -> torch.Tensor:
        """(K, ...) -> (M, down, across, ...) of whose the tiles are; 0 of nobody."""
        values = torch.cat([values, values.new_zeros(1, *values.shape[1:])])
        return values.index_select(0, self.owners.flatten()).unflatten(0, self.owners.shape)

    def sums(self, maps: torch.Tensor) -> torch.Tensor:
        """(M, h, w) fp32 -> (K,), summed over the tiles of each mask."""
        of_tiles = self.tiles.split(maps, 0.0).sum(dim=2).sum(dim=3)
        sums = of_tiles.new_zeros(self.layers.shape[0] + 1)
        return sums.scatter_add(0, self.owners.flatten(), of_tiles.flatten())[:-1]


def owners_of(reach: torch.Tensor) -> torch.Tensor:
    """``owners`` of :class:`MaskLayers`: each tile of a mask in the first layer where it is free.

    Args:
        reach: (K, down, across) bool, the tiles of each mask.
    """
    nobody = reach.shape[0]
    number = torch.arange(nobody + 1, device=reach.device)
    depth = reach.sum(dim=0)
    used = indices_where(number <= depth.amax(dim=(0, 1)))
    # All keys differ: no runtime has to know which of equals comes first.
    rank = (nobody - number)[:, None, None]
    keys = torch.where(F.pad(reach, (0, 0, 0, 0, 0, 1)), rank + nobody, rank)
    order = keys.sort(dim=0, descending=True).indices.index_select(0, used)
    return torch.where(used[:, None, None] < depth, order, nobody)


def layers_of(reach: torch.Tensor, owners: torch.Tensor) -> torch.Tensor:
    """``layers`` of :class:`MaskLayers`; see :func:`owners_of`."""
    return torch.where(reach, reach.cumsum(dim=0) - 1, owners.shape[0] - 1)


def in_boxes(boxes: torch.Tensor, tiles: Tiles) -> torch.Tensor:
    """(K, 4) XYXY in points, the last ones exclusive -> (K, down, across) bool, the tiles that they touch."""
    x0, y0, x1, y1 = (edge[:, None] for edge in boxes.unbind(dim=1))
    top = torch.arange(tiles.down, device=boxes.device) * tiles.side[0]
    left = torch.arange(tiles.across, device=boxes.device) * tiles.side[1]
    rows = (top < y1) & (top + tiles.side[0] > y0)
    columns = (left < x1) & (left + tiles.side[1] > x0)
    return rows[:, :, None] & columns[:, None, :]
