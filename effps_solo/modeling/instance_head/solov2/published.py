"""The SOLOv2 head with the targets, the mask loss and the decoding of the published code.

For published weights and for tests of parity; chosen by ``MODEL.SOLOV2.PARITY``. With ``variant`` "full" it
equals the published head and its training on one process: on several, the counts that divide the losses
are means over all of them. What differs from :class:`SOLOv2InstanceHead`: :mod:`.targets`, :mod:`.decoding`.
"""

from typing import List, Optional, Tuple

import torch
import torch.nn.functional as F
from detectron2.structures import Instances

from effps_solo.modeling.detections import Detections, boxes_from_masks
from effps_solo.modeling.instance_head.base import Index, Stride4Masks, Window
from effps_solo.modeling.instance_head.build import INSTANCE_HEAD_REGISTRY
from effps_solo.modeling.mask_layers import MaskLayers
from effps_solo.modeling.upsampling import STRIDE, stride4_size

from . import inference
from .candidate_masks import CandidateMasks
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
        areas, maskness, intersections = CandidateMasks(masks.of(candidates.cells)).measures()
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
        boxes, layers = in_pixels(boxes, image_size), MaskLayers.whole(logits)
        return Detections(scores, valid, classes[order], boxes, layers)


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
        instances.mask_source = PublishedMasks(found.masks.logits, image_size)  # whole maps
        return instances


class PublishedMasks(Stride4Masks):
    """Masks whose probabilities are interpolated to the network's frame, and from there to the output.

    On the stride-4 points they are those of the logits.
    """

    def __init__(self, maps: torch.Tensor, frame: Tuple[int, int]) -> None:
        """
        Args:
            maps: (K, h, w) logits, as those of :class:`Stride4Masks`.
            frame: (h, w) of the network's frame, without padding.
        """
        super().__init__(maps)
        self.frame = frame

    def __getitem__(self, index: Index) -> "PublishedMasks":
        return PublishedMasks(self.maps[index], self.frame)

    def to(self, *args: object, **kwargs: object) -> "PublishedMasks":
        return PublishedMasks(self.maps.to(*args, **kwargs), self.frame)

    def _sampled(self, maps: torch.Tensor, window: Window, size: Tuple[int, int]) -> torch.Tensor:
        x0, y0, x1, y1 = window
        rows = _weights_of_both_steps(maps, 1, self.frame[0], (y0, y1), size[0])
        columns = _weights_of_both_steps(maps, 2, self.frame[1], (x0, x1), size[1])
        with torch.autocast(maps.device.type, enabled=False):
            return (rows.T @ maps.float().sigmoid() @ columns).clamp(0, 1).logit()


def _weights_of_both_steps(
    maps: torch.Tensor, axis: int, length: int, window: Tuple[float, float], count: int
) -> torch.Tensor:
    """(points, count): how much each point of an axis counts for each output pixel in the window."""
    scale = count / (window[1] - window[0])
    first, output_length = round(window[0] * scale), round(length * scale)
    points = torch.eye(maps.shape[axis], device=maps.device)[None]
    weights = F.interpolate(points, scale_factor=STRIDE, mode="linear")[..., :length]
    if output_length != length:
        weights = F.interpolate(weights, size=output_length, mode="linear")
    return weights[0, :, first : first + count]
