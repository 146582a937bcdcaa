"""The SOLOv2 head with the targets, the mask loss and the decoding of the published code.

For published weights and for tests of parity; chosen by ``MODEL.SOLOV2.PARITY``. With ``variant`` "full" it
equals the published head and its training on one process: on several, the counts that divide the losses
are means over all of them. What differs from :class:`SOLOv2InstanceHead`: :mod:`.targets`, :mod:`.decoding`.
"""

from typing import List, Optional, Tuple

import torch
from detectron2.structures import Instances

from effps_solo.modeling.detections import Detections, boxes_from_masks
from effps_solo.modeling.instance_head.base import Stride4Masks
from effps_solo.modeling.instance_head.build import INSTANCE_HEAD_REGISTRY
from effps_solo.modeling.upsampling import stride4_size

from . import inference
from .candidate_masks import candidate_masks
from .decoding import Decoder, in_pixels
from .dynamic_masks import DynamicMasks
from .grids import Cells
from .head import SOLOv2InstanceHead
from .targets import GridTargets


class PublishedDecoder(Decoder):
    """The published decoding."""

    def __call__(
        self,
        scores: torch.Tensor,
        masks: DynamicMasks,
        strides: torch.Tensor,
        image_size: Tuple[int, int],
        min_score: float = 0.0,
    ) -> Detections:
        """See :class:`Decoder`."""
        lowest = max(self.update_thresh, min_score)
        candidates = inference.select_candidates(
            scores, max_candidates=scores.numel(), threshold=max(self.score_thresh, min_score)
        )
        padded = (masks.features.shape[1], masks.features.shape[2])
        areas, maskness, intersections = candidate_masks(masks, candidates.cells, padded).measures()
        scores = candidates.scores * maskness
        large = (areas >= self.min_mask_area) & (areas > strides[candidates.cells])
        best = (large & (scores >= lowest)).nonzero()[:, 0]
        best = best[scores[best].argsort(descending=True, stable=True)][: self.nms_pre]
        classes = candidates.classes[best]
        iou = inference.same_class_iou(intersections[best[:, None], best], classes)
        scores, order = self.suppressed(iou, scores[best], lowest)
        # Probabilities far away count, too, where they are interpolated: no part is left out.
        logits = masks.of(candidates.cells[best[order]]).logits()
        rows, columns = stride4_size(image_size)
        boxes = boxes_from_masks(logits[:, :rows, :columns] > 0)
        valid = torch.ones_like(order, dtype=torch.bool)
        return Detections(scores, valid, classes[order], in_pixels(boxes, image_size), logits)


@INSTANCE_HEAD_REGISTRY.register()
class PublishedSOLOv2InstanceHead(SOLOv2InstanceHead):
    """SOLOv2 as published, with its faults; see the module's docstring."""

    decoder_type = PublishedDecoder

    def _assign(
        self,
        padded_size: Tuple[int, int],
        instances: List[Instances],
        ignore_masks: Optional[torch.Tensor],
        cells: Cells,
        one_owner: bool = False,
    ) -> List[GridTargets]:
        return super()._assign(padded_size, instances, None, cells, one_owner)

    def _has_mask(self, grids: List[GridTargets], instances: List[Instances]) -> List[torch.Tensor]:
        return [torch.ones_like(t.cell_index, dtype=torch.bool) for t in grids]

    @staticmethod
    def _as_instances(found: Detections, image_size: Tuple[int, int]) -> Instances:
        instances = SOLOv2InstanceHead._as_instances(found, image_size)
        instances.mask_source = Stride4Masks(found.mask_logits, of_probabilities=True)
        return instances
