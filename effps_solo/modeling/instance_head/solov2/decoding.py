"""Decoding of SOLOv2 (section 3.3 and appendix A): the scores and masks of an image -> instances.

Equals the published decoding with ``parity``. Without it four things differ:

- Masks are judged by their part inside the image; as published with their part in the padding, too,
  so that results depend on the other images of a batch.
- The smallest mask is a setting; as published it has more stride-4 points than the stride of its
  level, which loses two thirds of small persons.
- The best candidates by class score get masks; as published all of them get one, however many, and
  the best by class score times maskness stay.
- Between the stride-4 points logits are interpolated; as published, probabilities.

T thing classes, h x w the stride-4 map.
"""

from dataclasses import dataclass
from typing import NamedTuple, Tuple

import torch
from detectron2.structures import Boxes, Instances

from effps_solo.modeling.instance_head.base import Stride4Masks

from . import inference
from .dynamic_masks import DynamicMasks
from .targets import MASK_STRIDE


class Candidates(NamedTuple):
    """scores (K,) in descending order, cells (K,) and classes (K,)."""

    scores: torch.Tensor
    cells: torch.Tensor
    classes: torch.Tensor


@dataclass
class Decoder:
    """The decoding and its settings.

    Attributes:
        score_thresh: candidates need a higher class probability.
        nms_pre: candidates of Matrix NMS at most.
        nms_kernel, nms_sigma: of Matrix NMS.
        update_thresh: lowest score after Matrix NMS.
        min_mask_area: smallest mask in stride-4 points.
        max_detections: instances per image at most.
        parity: as published, see the module's docstring.
    """

    score_thresh: float = 0.1
    nms_pre: int = 500
    nms_kernel: str = "gaussian"
    nms_sigma: float = 2.0
    update_thresh: float = 0.05
    min_mask_area: int = 1
    max_detections: int = 100
    parity: bool = False

    def __call__(
        self,
        scores: torch.Tensor,
        masks: DynamicMasks,
        strides: torch.Tensor,
        image_size: Tuple[int, int],
        min_score: float = 0.0,
    ) -> Instances:
        """
        Args:
            scores: (cells, T) after points NMS.
            masks: of all cells, with padding.
            strides: (cells,) of the features behind each cell.
            image_size: (h, w) in pixels, without padding.
            min_score: the caller has no use for instances below it.

        Returns:
            see :meth:`InstanceHead.inference`.
        """
        lowest = max(self.update_thresh, min_score)
        candidates = self._candidates(scores, max(self.score_thresh, min_score))

        # A cell may be a candidate for several classes; its mask is measured once.
        cells, mask_of = candidates.cells.unique(return_inverse=True)
        masks = masks.of(cells)
        reach = masks.reach()
        measures = self._measure(masks, reach, image_size)
        scores = candidates.scores * measures.maskness[mask_of]
        keep = self._large_enough(measures.areas, strides[cells])[mask_of] & (scores >= lowest)
        best = keep.nonzero()[:, 0]
        best = best[scores[best].argsort(descending=True, stable=True)][: self.nms_pre]
        row = mask_of[best]
        iou = inference.same_class_iou(
            measures.intersections[row[:, None], row], candidates.classes[best]
        )
        scores = inference.decayed_scores(
            iou, scores[best], kernel=self.nms_kernel, sigma=self.nms_sigma
        )
        scores, order = scores.sort(descending=True, stable=True)
        order = order[scores >= lowest][: self.max_detections]
        best = best[order]
        result = Instances(image_size)
        result.scores, result.thing_index = scores[: len(order)], candidates.classes[best]
        # Only these few masks are made as a whole.
        self._add_masks(result, mask_of[best], masks, reach)
        return result

    def _candidates(self, scores: torch.Tensor, threshold: float) -> Candidates:
        """The (cell, class) pairs that get a mask."""
        limit = scores.numel() if self.parity else self.nms_pre
        values, cells, classes = inference.select_candidates(scores, max_candidates=limit)
        above = values > threshold
        return Candidates(values[above], cells[above], classes[above])

    def _measure(
        self, masks: DynamicMasks, reach: torch.Tensor, image_size: Tuple[int, int]
    ) -> inference.MaskMeasures:
        """What decides about masks that lie where ``reach`` says."""
        height, width = masks.features.shape[1:] if self.parity else _map_size(image_size)
        return inference.measure_masks(masks.logits, reach, (height, width))

    def _large_enough(self, areas: torch.Tensor, strides: torch.Tensor) -> torch.Tensor:
        """(k,) bool of the areas of k masks."""
        large = areas >= self.min_mask_area
        return large & (areas > strides) if self.parity else large

    def _add_masks(
        self, result: Instances, chosen: torch.Tensor, masks: DynamicMasks, reach: torch.Tensor
    ) -> None:
        """Set ``pred_boxes`` and ``mask_source`` of the instances, whose masks are the (K,) chosen."""
        height, width = _map_size(result.image_size)
        if self.parity:  # probabilities far away count, too, where they are interpolated
            logits = masks.logits(chosen)
            boxes = inference.boxes_from_masks(logits[:, :height, :width] > 0)
        else:
            logits, boxes = masks.whole(chosen, reach[chosen], (height, width))
        result.pred_boxes = Boxes(boxes * MASK_STRIDE)
        result.pred_boxes.clip(result.image_size)
        result.mask_source = Stride4Masks(logits, of_probabilities=self.parity)


def _map_size(image_size: Tuple[int, int]) -> Tuple[int, int]:
    """(h, w) of the stride-4 map without padding."""
    height, width = (-(-side // MASK_STRIDE) for side in image_size)
    return height, width
