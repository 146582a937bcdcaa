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
        mask_logits: MaskLogits,
        strides: torch.Tensor,
        image_size: Tuple[int, int],
        min_score: float = 0.0,
    ) -> Instances:
        """
        Args:
            scores: (cells, T) after points NMS.
            mask_logits: makes the masks of the cells that it is called with.
            strides: (cells,) of the features behind each cell.
            image_size: (h, w) in pixels, without padding.
            min_score: the caller has no use for instances below it.

        Returns:
            see :meth:`InstanceHead.inference`.
        """
        scores, cells, classes = inference.select_candidates(
            scores,
            threshold=max(self.score_thresh, min_score),
            max_candidates=scores.numel() if self.parity else self.nms_pre,
        )
        # A cell may be a candidate for several classes; its mask is made once.
        cells, mask_of = cells.unique(return_inverse=True)
        logits = mask_logits(cells)
        if not self.parity:
            logits = _inside(logits, image_size)
        areas, maskness = inference.mask_areas_and_maskness(logits)
        scores = scores * maskness[mask_of]
        lowest = max(self.update_thresh, min_score)
        keep = self._large_enough(areas, strides[cells])[mask_of] & (scores >= lowest)
        best = scores.masked_fill(~keep, -1.0).argsort(descending=True, stable=True)
        best = best[: min(int(keep.sum()), self.nms_pre)]
        classes, mask_of = classes[best], mask_of[best]

        scores = inference.matrix_nms(
            (logits > 0)[mask_of],
            classes,
            scores[best],
            kernel=self.nms_kernel,
            sigma=self.nms_sigma,
        )
        scores, order = scores.sort(descending=True, stable=True)
        order = order[scores >= lowest][: self.max_detections]
        return self._instances(
            scores[: len(order)], classes[order], logits[mask_of[order]], image_size
        )

    def _large_enough(self, areas: torch.Tensor, strides: torch.Tensor) -> torch.Tensor:
        """(k,) bool of the areas of k masks."""
        large = areas >= self.min_mask_area
        return large & (areas > strides) if self.parity else large

    def _instances(
        self,
        scores: torch.Tensor,
        classes: torch.Tensor,
        logits: torch.Tensor,
        image_size: Tuple[int, int],
    ) -> Instances:
        result = Instances(image_size)
        result.scores, result.thing_index = scores, classes
        masks = _inside(logits, image_size) > 0
        boxes = Boxes(inference.boxes_from_masks(masks) * MASK_STRIDE)
        boxes.clip(image_size)
        result.pred_boxes = boxes
        result.mask_source = Stride4Masks(logits, of_probabilities=self.parity)
        return result


def _inside(maps: torch.Tensor, image_size: Tuple[int, int]) -> torch.Tensor:
    """Stride-4 maps without the points beyond the image."""
    height, width = (-(-s // MASK_STRIDE) for s in image_size)
    return maps[..., :height, :width]
