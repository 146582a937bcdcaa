"""Which instances stay in the map, and where they may have a vote; pure functions.

K instances, best first; h x w points of their maps.
"""

from typing import Callable, Iterable, List, NamedTuple, Tuple

import torch
import torch.nn.functional as F

from effps_solo.modeling.execution import indices_where, works_in_parts
from effps_solo.modeling.mask_layers import MaskLayers
from effps_solo.modeling.upsampling import STRIDE, Size

Window = Tuple[slice, slice]  # rows and columns of points
SUPPORT_MARGIN = 1  # a mask's border lies up to one stride-4 point beyond its box
OVERLAP_ROUNDS = 8  # decides noise right; photographs need two or three
# (E,) numbers of maps and points -> (E,) int64, whose mask it is.
OwnerAt = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_NOBODY = 1 << 20  # above every rank; runtimes compute integers in fp32 at times


class Claims(NamedTuple):
    """The points that several of K masks hold.

    Attributes:
        areas: (K,) fp32, all points of each mask.
        owners, points: (E,) int64, who claims what; K: nobody.
        num_points: of the map.
    """

    areas: torch.Tensor
    owners: torch.Tensor
    points: torch.Tensor
    num_points: int

    @classmethod
    def of_layers(cls, layers: MaskLayers) -> "Claims":
        """Of masks in layers, their points above 0."""
        inside = (layers.logits > 0).float()

        def owner_at(layer: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
            return layers.owner_at(layer, layers.tile_of_point.index_select(0, points))

        return cls._of(inside.flatten(1), owner_at, layers.sums(inside))

    @classmethod
    def of_maps(cls, inside: torch.Tensor) -> "Claims":
        """Of (K, h, w) bool masks."""
        inside = inside.flatten(1).float()
        return cls._of(inside, lambda mask, points: mask, inside.sum(dim=1))

    @classmethod
    def _of(cls, inside: torch.Tensor, owner_at: OwnerAt, areas: torch.Tensor) -> "Claims":
        """Of (M, P) maps, 1 inside and 0 elsewhere."""
        num_points = inside.shape[1]
        # What lies in one mask alone is not taken by another.
        shared = (inside * inside.sum(dim=0)).flatten() > 1
        claims = indices_where(shared)
        layer = claims // num_points
        points = claims - layer * num_points
        owners = torch.where(
            shared.index_select(0, claims), owner_at(layer, points), areas.shape[0]
        )
        return cls(areas, owners, points, num_points)


def without_overlaps(layers: MaskLayers, wanted: torch.Tensor, threshold: float) -> torch.Tensor:
    """Visit the wanted masks in order; drop those that better ones already cover, and empty ones.

    Args:
        layers: of K masks, above 0 inside.
        wanted: (K,) bool.
        threshold: a mask is dropped when more than this fraction of it is taken.

    Returns:
        (K,) bool, which stay.
    """
    return kept_in_rounds(Claims.of_layers(layers), wanted, threshold)


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


def kept_in_rounds(claims: Claims, wanted: torch.Tensor, threshold: float) -> torch.Tensor:
    """:func:`without_overlaps` without visiting one mask after the other.

    A round drops the masks that those which the round before has kept cover. After r rounds the
    outcome is right wherever a chain of masks that cover each other has at most r + 1 of them; on a CPU there
    are as many as it takes.
    """
    owners, points = claims.owners, claims.points
    # At last nobody, who never stays.
    kept = F.pad(wanted & (claims.areas > 0), (0, 1))
    at_most = torch.where(kept, F.pad(threshold * claims.areas, (0, 1)), -1.0)
    nobody = torch.full((claims.num_points,), _NOBODY, dtype=owners.dtype, device=owners.device)
    nothing, number = torch.zeros_like(at_most), torch.arange(kept.shape[0], device=kept.device)
    for _ in range(wanted.shape[0] if works_in_parts(wanted) else OVERLAP_ROUNDS):
        claimed = torch.where(kept, number, _NOBODY).index_select(0, owners)
        holder = nobody.scatter_reduce(0, points, claimed, "amin").index_select(0, points)
        taken = nothing.scatter_add(0, owners, (holder < owners).float())
        before, kept = kept, taken <= at_most
        if works_in_parts(kept) and torch.equal(kept, before):
            break
    return kept[:-1]


def supports(boxes: torch.Tensor) -> torch.Tensor:
    """Where instances have a vote: the stride-4 points in or next to their boxes.

    Args:
        boxes: (K, 4) XYXY in pixels of the network's frame.

    Returns:
        (K, 4) XYXY in points, the last ones exclusive.
    """
    low = (boxes[:, :2] / STRIDE).floor() - SUPPORT_MARGIN
    high = (boxes[:, 2:] / STRIDE).ceil() + SUPPORT_MARGIN
    return torch.cat([low, high], dim=1)
