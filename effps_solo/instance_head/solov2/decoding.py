"""Decoding of SOLOv2 (section 3.3 and appendix A): the scores and masks of an image -> instances.

T thing classes, h x w the stride-4 map.
"""

from dataclasses import dataclass
from typing import Callable, Tuple

import torch
from detectron2.structures import Boxes, Instances

from ..base import Stride4Masks
from . import inference
from .targets import MASK_STRIDE

# cells (k,) -> their mask logits (k, h, w), with padding
MaskLogits = Callable[[torch.Tensor], torch.Tensor]


@dataclass
class Decoder:
    """The decoding and its settings.

    Attributes:
        score_thresh: candidates need a higher class probability.
        nms_pre: candidates at most.
        nms_kernel, nms_sigma: of Matrix NMS.
        update_thresh: lowest score after Matrix NMS.
        min_mask_area: smallest mask in stride-4 pixels.
        max_detections: instances per image at most.
    """

    score_thresh: float = 0.1
    nms_pre: int = 500
    nms_kernel: str = "gaussian"
    nms_sigma: float = 2.0
    update_thresh: float = 0.05
    min_mask_area: int = 1
    max_detections: int = 100

    def __call__(
        self,
        scores: torch.Tensor,
        mask_logits: MaskLogits,
        image_size: Tuple[int, int],
        min_score: float = 0.0,
    ) -> Instances:
        """
        Args:
            scores: (cells, T) after points NMS.
            mask_logits: makes the masks of the cells that it is called with.
            image_size: (h, w) in pixels, without padding.
            min_score: the caller has no use for instances below it.

        Returns:
            see :meth:`InstanceHead.inference`.
        """
        scores, cells, classes = inference.select_candidates(
            scores, threshold=max(self.score_thresh, min_score), max_candidates=self.nms_pre
        )
        # A cell may be a candidate for several classes; its mask is made once.
        cells, cell_of_candidate = cells.unique(return_inverse=True)
        height, width = (-(-s // MASK_STRIDE) for s in image_size)
        logits = mask_logits(cells)[:, :height, :width]
        areas, maskness = inference.mask_areas_and_maskness(logits)
        scores = scores * maskness[cell_of_candidate]
        keep = areas[cell_of_candidate] >= self.min_mask_area
        keep &= scores >= max(self.update_thresh, min_score)
        scores, classes, cell_of_candidate = scores[keep], classes[keep], cell_of_candidate[keep]

        masks = logits[cell_of_candidate] > 0
        scores = inference.matrix_nms(
            masks, classes, scores, kernel=self.nms_kernel, sigma=self.nms_sigma
        )
        scores, order = scores.sort(descending=True, stable=True)
        order = order[scores >= max(self.update_thresh, min_score)][: self.max_detections]
        result = Instances(image_size)
        result.scores = scores[: len(order)]
        result.thing_index = classes[order]
        boxes = Boxes(inference.boxes_from_masks(masks[order]) * MASK_STRIDE)
        boxes.clip(image_size)
        result.pred_boxes = boxes
        result.mask_source = Stride4Masks(logits[cell_of_candidate[order]])
        return result
