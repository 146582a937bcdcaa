"""The heuristic fusion of Panoptic-FPN (Kirillov et al., CVPR 2019, section 4.1).

Instances are pasted in the order of their scores, each where nothing is yet; the rest gets the
stuff classes of the semantic head. Differs from Detectron2's in two things: the smallest stuff area
is a fraction of the image, and the semantic head knows every class of things, not one for all of
them. A pixel that it gives to things and no instance claims is void in both, unless
``VOID_UNCLAIMED_THINGS`` is False.
"""

from typing import List, Tuple

import torch
from detectron2.structures import Instances

from effps_solo.modeling.postprocessing import output_mask, upsampled_argmax

from .base import PanopticFusion, SegmentsInfo, Size
from .build import PANOPTIC_FUSION_REGISTRY
from .segments import mean_winning_probability, segments_info


@PANOPTIC_FUSION_REGISTRY.register()
class HeuristicFusion(PanopticFusion):
    """Paste fusion; see the module's docstring."""

    def forward(
        self, semantic_logits: torch.Tensor, instances: Instances, output_size: Size
    ) -> Tuple[torch.Tensor, SegmentsInfo]:
        """See :meth:`PanopticFusion.forward`."""
        owner, pasted = self._paste(instances, output_size)
        semantic_logits = semantic_logits.float()
        candidates, ids = self._unclaimed(semantic_logits)
        classes = ids[upsampled_argmax(candidates, instances.image_size, output_size)]
        code = torch.where(owner >= 0, owner, classes + len(pasted))
        winner = ids[candidates.max(dim=0).indices]
        class_scores = mean_winning_probability(semantic_logits, winner)
        scores, thing_index = instances.scores[pasted], instances.thing_index[pasted]
        panoptic_seg, table = self.assemble(code, scores, thing_index, class_scores)
        return panoptic_seg, segments_info(table)

    def _paste(self, instances: Instances, output_size: Size) -> Tuple[torch.Tensor, torch.Tensor]:
        """Owner of each pixel (H, W) as an index into the pasted instances, and their indices."""
        device = instances.scores.device
        owner = torch.full(tuple(output_size), -1, dtype=torch.int64, device=device)
        pasted: List[int] = []
        for k in self._confident(instances).tolist():
            rows, columns, mask = output_mask(instances, k, output_size)
            area = int(mask.sum())
            free = mask & (owner[rows, columns] < 0)
            if area == 0 or area - int(free.sum()) > self.overlap_thresh * area:
                continue
            owner[rows, columns][free] = len(pasted)
            pasted.append(k)
        return owner, torch.tensor(pasted, dtype=torch.int64, device=device)
