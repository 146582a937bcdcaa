"""Training of the SOLOv2 head: the targets of a batch, and the mask losses of an image."""

from dataclasses import dataclass
from typing import Callable, List, Optional, Tuple

import torch
import torch.nn.functional as F
from detectron2.structures import Instances

from effps_solo.modeling.instance_head.base import InstanceTargets

from .dynamic_masks import DynamicMasks
from .grids import Cells
from .losses import in_chunks
from .point_loss import MaskPoints, point_loss
from .targets import GridTargets, assign_to_grid

# (P, h, w) mask logits and bool targets -> (P,) losses, see dice_loss.
MaskLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass
class SOLOv2Targets(InstanceTargets):
    """The targets of N images.

    Attributes:
        cells: those that the targets are of.
        grids: of each image.
        has_mask: of each image (P,) bool, whether a pair of a cell and an object trains a mask.
    """

    cells: Cells
    grids: List[GridTargets]
    has_mask: List[torch.Tensor]


@torch.no_grad()
def assign_instances(
    padded_size: Tuple[int, int],
    instances: List[Instances],
    ignore_masks: Optional[torch.Tensor],
    cells: Cells,
    *,
    center_sigma: float,
    num_classes: int,
    one_owner: bool = True,
) -> List[GridTargets]:
    """The targets of every image, see :func:`.targets.assign_to_grid` and :class:`InstanceTargets`."""
    ignored = [None] * len(instances) if ignore_masks is None else ignore_masks
    return [
        assign_to_grid(
            x.gt_centers,
            x.gt_boxes.tensor,
            x.gt_areas,
            x.gt_classes,
            padded_size=padded_size,
            num_grids=cells.num_grids,
            scale_ranges=cells.scale_ranges,
            center_sigma=center_sigma,
            num_classes=num_classes,
            ignore=ignore,
            one_owner=one_owner,
        )
        for x, ignore in zip(instances, ignored)
    ]


def mask_losses(
    predicted: DynamicMasks,
    targets: GridTargets,
    has_mask: torch.Tensor,
    masks: torch.Tensor,
    points: Optional[MaskPoints],
    loss: MaskLoss,
    *,
    chunk: int,
) -> torch.Tensor:
    """The losses of one image's pairs of a positive cell and an object that has a mask, and at its points.

    Crowds and void count as outside, for the mask of an annotated object is complete; were they
    ignored, masks would flow into the crowds beside them.

    Args:
        predicted: of all cells.
        has_mask: (P,) bool, which pairs of ``targets``.
        masks: (M, h, w) bool at stride 4, without padding.
        points: of the M objects; None: no loss there.
        chunk: see :func:`.losses.in_chunks`.

    Returns:
        (pairs, 1) ``loss`` or (pairs, 2) that and :func:`.point_loss.point_loss`.
    """
    height, width = predicted.size
    masks = F.pad(masks, (0, width - masks.shape[-1], 0, height - masks.shape[-2]))

    def of_pairs(cells: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
        logits = predicted.of(cells).logits()
        losses = loss(logits, masks[objects])
        if losses.shape != cells.shape:
            raise ValueError(
                f"mask_loss gave {tuple(losses.shape)} for {len(cells)} masks; it gives one number for each"
            )
        if points is None:
            return losses[:, None]
        return torch.stack([losses, point_loss(logits, points.of(objects))], dim=1)

    chosen, objects = targets.cell_index[has_mask], targets.instance_index[has_mask]
    return in_chunks(of_pairs, chosen, objects, size=chunk)
