"""The heuristic fusion of Panoptic-FPN (Kirillov et al., CVPR 2019, section 4.1).

Instances are pasted in the order of their scores, each where nothing is yet; the rest gets the
stuff classes of the semantic head. Differs from Detectron2's in two things: the smallest stuff area
is a fraction of the image, and the semantic head knows every class of things, not one for all of
them. A pixel that it gives to things and no instance claims is void in both, unless
``VOID_UNCLAIMED_THINGS`` is False.
"""

from typing import Optional, Tuple

import torch
from detectron2.structures import Instances

from effps_solo.modeling.execution import works_in_parts
from effps_solo.modeling.outputs import FusionThresholds
from effps_solo.modeling.pixel_labels import LabelMap
from effps_solo.modeling.postprocessing import output_masks, windowed_masks
from effps_solo.modeling.upsampling import Size, upsampled_argmax

from .base import PanopticFusion, SegmentsInfo
from .build import PANOPTIC_FUSION_REGISTRY
from .overlaps import Claims, first_come, kept_in_rounds
from .segments import mean_winning_probability, segments_info


@PANOPTIC_FUSION_REGISTRY.register()
class HeuristicFusion(PanopticFusion):
    """Paste fusion; see the module's docstring."""

    def forward(
        self,
        semantic_logits: torch.Tensor,
        instances: Instances,
        output_size: Size,
        thresholds: Optional[FusionThresholds] = None,
    ) -> Tuple[torch.Tensor, SegmentsInfo]:
        """See :meth:`PanopticFusion.forward`."""
        thresholds = thresholds or self.thresholds
        instances = instances[instances.scores >= thresholds.score]
        owner = self._paste(instances, output_size, thresholds.overlap)
        semantic_logits = semantic_logits.float()
        candidates, ids = self._unclaimed(semantic_logits)
        classes = ids[upsampled_argmax(candidates, instances.image_size, output_size)]
        code = torch.where(owner >= 0, owner, classes + len(instances))
        winner = ids[candidates.max(dim=0).indices]
        class_scores = mean_winning_probability(semantic_logits, winner)
        panoptic_seg, table = self.assemble(
            LabelMap(code),
            instances.scores,
            instances.thing_index,
            class_scores,
            thresholds.stuff_area,
        )
        return panoptic_seg, segments_info(table)

    @staticmethod
    def _paste(instances: Instances, output_size: Size, overlap: float) -> torch.Tensor:
        """(H, W) int64: the instance that owns a pixel; -1: none."""
        device = instances.scores.device
        owner = torch.full(tuple(output_size), -1, dtype=torch.int64, device=device)
        if not works_in_parts(owner):
            masks = output_masks(instances, output_size)
            kept = kept_in_rounds(Claims.of_maps(masks), torch.ones_like(masks[:, 0, 0]), overlap)
            # The first of those that stay, or the row of -1 behind them all.
            holds = torch.cat([masks & kept[:, None, None], owner[None] < 0])
            number = torch.arange(len(holds), device=device)
            number[-1] = -1
            return number[holds.to(torch.uint8).argmax(dim=0)]
        found = windowed_masks(instances, output_size)
        for k in first_come(zip(found.windows, found.masks), output_size, overlap):
            free = found.masks[k] & (owner[found.windows[k]] < 0)
            owner[found.windows[k]][free] = k
        return owner
