"""Grid targets of SOLOv2 (section 3.1 and appendix), a pure function.

Equals the published code but for three things. A cell that two objects claim has one owner; there
it learns both masks and the later class (``one_owner`` False does the same). Cells in crowds and
void can be ignored. A centre exactly on the border of two cells is in the cell behind it; there
rounding in float32 decides.

M objects, L levels with S_h x S_w cells each, P positive cells.
"""

from dataclasses import dataclass
from typing import Optional, Sequence, Tuple

import torch

from effps_solo.modeling.upsampling import STRIDE

IGNORED = -1  # category of a cell without loss


@dataclass
class GridTargets:
    """Targets of one image over the cells of all levels, level-major, then row-major.

    Attributes:
        category: (sum of S_h * S_w,) int64, thing index, ``num_classes`` for background, -1 for
            ignored.
        cell_index: (P,) int64 positions of the positive cells in ``category``, ascending; a cell
            comes once for every object whose mask it learns.
        instance_index: (P,) int64, that object.
    """

    category: torch.Tensor
    cell_index: torch.Tensor
    instance_index: torch.Tensor

    @property
    def num_positive(self) -> torch.Tensor:
        """() int64, number of different positive cells."""
        repeated = self.cell_index[1:] == self.cell_index[:-1]
        return len(self.cell_index) - repeated.sum()


def assign_to_grid(
    centers: torch.Tensor,
    boxes: torch.Tensor,
    areas: torch.Tensor,
    classes: torch.Tensor,
    *,
    padded_size: Tuple[int, int],
    num_grids: Sequence[Tuple[int, int]],
    scale_ranges: Sequence[Tuple[float, float]],
    center_sigma: float,
    num_classes: int,
    ignore: Optional[torch.Tensor] = None,
    one_owner: bool = True,
) -> GridTargets:
    """Assign objects to grid cells.

    An object belongs to every level whose range holds sqrt(w * h) of its box (both ends
    inclusive), and there to the cells that its centre region touches: ``center_sigma`` times the
    box around the mass centre, at most one cell to each side of the centre's own. A cell that two
    objects claim goes to the one with the smaller area (the earlier one if equal).

    Args:
        centers: (M, 2) x, y of the mass centres in pixels.
        boxes: (M, 4) XYXY in pixels.
        areas: (M,) pixels.
        classes: (M,) int64 in 0 .. num_classes - 1.
        padded_size: (Hp, Wp) of the network input, which the grids divide.
        num_grids: (S_h, S_w) per level.
        scale_ranges: (low, high) per level in pixels.
        center_sigma: sigma of the paper, 0.2.
        num_classes: T.
        ignore: (Hp/4, Wp/4) bool; a negative cell whose centre lies in it is ignored.
        one_owner: False as published: a cell learns the masks of all objects that claim it, and the
            class of the last.

    Returns:
        the targets; with M = 0 all cells are background or ignored.
    """
    device = centers.device
    category = _background(padded_size, num_grids, num_classes, ignore, device)
    cells, objects = _claims(centers, boxes, padded_size, num_grids, scale_ranges, center_sigma)

    # Of the objects that claim a cell the highest in rank wins it: the smallest, or the last.
    by_rank = _by_falling_area(areas) if one_owner else torch.arange(len(areas), device=device)
    rank = torch.empty_like(by_rank)
    rank[by_rank] = torch.arange(len(areas), device=device)
    winning_rank = torch.full((len(category),), -1, dtype=torch.int64, device=device)
    winning_rank.scatter_reduce_(0, cells, rank[objects], reduce="amax")

    positive = (winning_rank >= 0).nonzero().squeeze(1)
    winners = by_rank[winning_rank[positive]]
    category[positive] = classes[winners]
    if one_owner:
        return GridTargets(category, positive, winners)
    cells, order = cells.sort(stable=True)
    return GridTargets(category, cells, objects[order])


def trains_mask(targets: GridTargets, stride4_masks: torch.Tensor) -> torch.Tensor:
    """(P,) bool: the object has a pixel at stride 4.

    Without one its target is all zeros: dice 1 and no gradient, which would only dilute.

    Args:
        stride4_masks: (M, h, w) bool.
    """
    return stride4_masks.flatten(1).any(dim=1)[targets.instance_index]


def _by_falling_area(areas: torch.Tensor) -> torch.Tensor:
    """Indices of (M,) areas, the largest first; of equal ones the earlier comes last."""
    return len(areas) - 1 - areas.flip(0).argsort(descending=True, stable=True)


def _background(
    padded_size: Tuple[int, int],
    num_grids: Sequence[Tuple[int, int]],
    num_classes: int,
    ignore: Optional[torch.Tensor],
    device: torch.device,
) -> torch.Tensor:
    """(cells,) int64: background, or ignored where the centre of a cell lies in ``ignore``."""
    levels = []
    for rows, columns in num_grids:
        level = torch.full((rows, columns), num_classes, dtype=torch.int64, device=device)
        if ignore is not None:
            y = (torch.arange(rows, device=device) + 0.5) * (padded_size[0] / rows)
            x = (torch.arange(columns, device=device) + 0.5) * (padded_size[1] / columns)
            y = (y / STRIDE).long().clamp(max=ignore.shape[0] - 1)
            x = (x / STRIDE).long().clamp(max=ignore.shape[1] - 1)
            level[ignore[y][:, x]] = IGNORED
        levels.append(level.flatten())
    return torch.cat(levels)


def _claims(
    centers: torch.Tensor,
    boxes: torch.Tensor,
    padded_size: Tuple[int, int],
    num_grids: Sequence[Tuple[int, int]],
    scale_ranges: Sequence[Tuple[float, float]],
    center_sigma: float,
) -> Tuple[torch.Tensor, torch.Tensor]:
    """All (cell, object) claims as two int64 vectors; no loop over objects."""
    device = centers.device
    grids = torch.tensor(num_grids, dtype=torch.int64, device=device)  # (L, 2) rows, columns
    ranges = torch.tensor(scale_ranges, dtype=torch.float64, device=device)  # (L, 2)
    cells_per_level = grids.prod(dim=1)
    level_offset = cells_per_level.cumsum(0) - cells_per_level

    size = boxes[:, 2:].double() - boxes[:, :2].double()  # (M, 2) w, h
    scale = size.prod(dim=1).sqrt()
    on_level = (ranges[:, :1] <= scale) & (scale <= ranges[:, 1:])  # (L, M)

    # Cells along y and x as (L, M, 2) tensors in the order y, x.
    center = centers.double().flip(1)
    half = 0.5 * center_sigma * size.flip(1)
    frame = torch.tensor(padded_size, dtype=torch.float64, device=device)
    last = grids[:, None] - 1

    def cell_of(position: torch.Tensor) -> torch.Tensor:
        return (position * grids[:, None] / frame).floor().long().clamp(min=0).minimum(last)

    middle = cell_of(center)
    first_cell, last_cell = cell_of(center - half), cell_of(center + half)
    offset = torch.arange(-1, 2, device=device)
    offsets = torch.cartesian_prod(offset, offset)  # (9, 2) dy, dx
    cell = middle[:, :, None] + offsets  # (L, M, 9, 2)
    inside = (cell >= first_cell[:, :, None]) & (cell <= last_cell[:, :, None])
    claimed = inside.all(dim=-1) & on_level[:, :, None]

    flat = level_offset[:, None, None] + cell[..., 0] * grids[:, 1, None, None] + cell[..., 1]
    level, obj, position = claimed.nonzero(as_tuple=True)
    return flat[level, obj, position], obj
