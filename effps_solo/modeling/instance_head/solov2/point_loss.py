"""The loss of masks at points in and around each object, pure functions.

Targets at stride 4 say whether a point is inside, not where between two points the border runs: a mask that
fits them can be off by two pixels, a fifth of a small object. Here the logits are interpolated between the
stride-4 points, as the fusion interpolates them, and compared with the truth at full resolution, most of all
where they are uncertain (PointRend: Kirillov et al., CVPR 2020, section 3.1; with dice for whole masks as in
Mask2Former: Cheng et al., CVPR 2022, section 3.3).

M objects, P pairs of a cell and an object, C candidates for the points of an object.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from effps_solo.modeling.upsampling import STRIDE

# PointRend's: candidates for each point, and the share of the points that are the most uncertain ones.
OVERSAMPLING, UNCERTAIN_SHARE = 3, 0.75
# How far points lie around the box of an object, to each side: a share of its side, and pixels.
MARGIN_SHARE, MARGIN_PIXELS = 0.25, 4.0


@dataclass
class MaskPoints:
    """Candidates for points.

    Attributes:
        locations: (M, C, 2) x, y in pixels of the network's frame.
        inside: (M, C) bool, whether they belong to their object.
    """

    locations: torch.Tensor
    inside: torch.Tensor

    def of(self, objects: torch.Tensor) -> "MaskPoints":
        """Those of (P,) objects."""
        return MaskPoints(self.locations[objects], self.inside[objects])


def sample_points(boxes: torch.Tensor, masks: Any, num_points: int) -> MaskPoints:
    """Candidates for ``num_points`` points of each object, drawn uniformly around its box.

    Args:
        boxes: (M, 4) XYXY in pixels.
        masks: the :class:`effps_solo.data.object_masks.ObjectMasks` of the objects.
        num_points: C is ``OVERSAMPLING`` times that.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    margin = MARGIN_SHARE * sides + MARGIN_PIXELS
    size = boxes.new_tensor([masks.objects.shape[1], masks.objects.shape[0]])
    low = (boxes[:, :2] - margin).clamp(min=0)
    high = torch.minimum(boxes[:, 2:] + margin, size)
    share = torch.rand(
        (len(boxes), OVERSAMPLING * num_points, 2), dtype=boxes.dtype, device=boxes.device
    )
    locations = low[:, None] + share * (high - low)[:, None]
    return MaskPoints(locations, masks.contain(locations))


def point_loss(mask_logits: torch.Tensor, points: MaskPoints) -> torch.Tensor:
    """Binary cross-entropy at the points of each mask, in at least fp32.

    Three quarters of them are the candidates with the logits nearest to 0, a quarter the first others or
    the same, which is a random choice, for candidates have no order.

    Args:
        mask_logits: (P, h, w) at stride 4.
        points: of each mask, C of them.

    Returns:
        (P,) means over C / ``OVERSAMPLING`` points.
    """
    num_points = points.locations.shape[1] // OVERSAMPLING
    num_uncertain = int(UNCERTAIN_SHARE * num_points)
    logits = logits_at(mask_logits, points.locations)
    nearest = logits.detach().abs().topk(num_uncertain, dim=1, largest=False, sorted=False).indices
    rest = torch.arange(num_points - num_uncertain, device=nearest.device)
    chosen = torch.cat([nearest, rest.expand(len(nearest), -1)], dim=1)
    inside = points.inside.gather(1, chosen).to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits.gather(1, chosen), inside, reduction="none")
    return loss.mean(dim=1)


def logits_at(mask_logits: torch.Tensor, locations: torch.Tensor) -> torch.Tensor:
    """(P, h, w) at stride 4 and (P, C, 2) pixels -> (P, C), interpolated, the rim continued."""
    dtype = torch.promote_types(mask_logits.dtype, torch.float32)
    height, width = mask_logits.shape[-2:]
    frame = locations.new_tensor([STRIDE * width, STRIDE * height])
    grid = (2 * locations / frame - 1)[:, None].to(dtype)
    maps = mask_logits[:, None].to(dtype)
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)[:, 0, 0]
