"""Decoding of SOLOv2 (section 3.3 and appendix A): the scores and masks of an image -> detections.

Differs from the published decoding (:mod:`.published`) in four things:

- Masks are judged by their part inside the image; as published with their part in the padding, too,
  so that results depend on the other images of a batch.
- The smallest mask is a setting; as published it has more stride-4 points than the stride of its
  level, which loses two thirds of small persons.
- The best candidates by class score get masks; as published all of them get one, however many, and
  the best by class score times maskness stay.
- Between the stride-4 points logits are interpolated; as published, probabilities.

T thing classes, K candidates.
"""

from dataclasses import dataclass
from typing import Any, Dict, Tuple

import torch
from detectron2.config import CfgNode

from effps_solo.modeling.detections import Detections
from effps_solo.modeling.execution import indices_where
from effps_solo.modeling.upsampling import STRIDE, stride4_size

from . import inference
from .candidate_masks import CandidateMasks
from .dynamic_masks import DynamicMasks

_DROPPED = -1.0  # a score that ranks below all others


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
    """

    score_thresh: float = 0.1
    nms_pre: int = 500
    nms_kernel: str = "gaussian"
    nms_sigma: float = 2.0
    update_thresh: float = 0.05
    min_mask_area: int = 1
    max_detections: int = 100

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict[str, Any]:
        """The settings of a config."""
        node = cfg.MODEL.SOLOV2
        return {
            "score_thresh": node.SCORE_THRESH,
            "nms_pre": node.NMS_PRE,
            "nms_kernel": node.NMS_KERNEL,
            "nms_sigma": node.NMS_SIGMA,
            "update_thresh": node.UPDATE_THRESH,
            "min_mask_area": node.MIN_MASK_AREA,
            "max_detections": cfg.TEST.DETECTIONS_PER_IMAGE,
        }

    def __call__(
        self,
        scores: torch.Tensor,
        masks: DynamicMasks,
        strides: torch.Tensor,
        image_size: Tuple[int, int],
        min_score: float = 0.0,
    ) -> Detections:
        """
        Args:
            scores: (cells, T) after points NMS.
            masks: of all cells, with padding.
            strides: (cells,) of the features behind each cell.
            image_size: (h, w) in pixels, without padding.
            min_score: the caller has no use for instances below it.
        """
        lowest = max(self.update_thresh, min_score)
        candidates = inference.select_candidates(
            scores, max_candidates=self.nms_pre, threshold=max(self.score_thresh, min_score)
        )
        found = CandidateMasks(masks.of(candidates.cells, stride4_size(image_size)))
        areas, maskness, intersections = found.measures()
        scores = candidates.scores * maskness
        keep = candidates.valid & (areas >= self.min_mask_area) & (scores >= lowest)
        # Ranked last they lower no other score.
        scores = torch.where(keep, scores, _DROPPED)
        iou = inference.same_class_iou(intersections, candidates.classes)
        scores, order = self.suppressed(iou, scores, lowest)
        layers = found.layers(order)
        boxes = in_pixels(layers.boxes(), image_size)
        return Detections(scores, scores >= lowest, candidates.classes[order], boxes, layers)

    def suppressed(
        self, iou: torch.Tensor, scores: torch.Tensor, lowest: float
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        """Scores after Matrix NMS of those that stay, best first, and which candidates they are.

        Args:
            iou: (K, K) of :func:`.inference.same_class_iou`.
            scores: (K,).
            lowest: others are dropped.
        """
        decayed = inference.decayed_scores(
            iou, scores, kernel=self.nms_kernel, sigma=self.nms_sigma
        )
        # The linear kernel makes 0 of any score, also of one that is dropped.
        scores, order = decayed.minimum(scores).sort(descending=True, stable=True)
        rank = torch.arange(scores.shape[0], device=scores.device)
        best = indices_where((scores >= lowest) & (rank < self.max_detections))
        return scores[best], order[best]


def in_pixels(boxes: torch.Tensor, image_size: Tuple[int, int]) -> torch.Tensor:
    """(K, 4) boxes in stride-4 points -> in pixels, cut to an image of (h, w)."""
    height, width = image_size
    boxes = boxes * STRIDE
    x, y = boxes[:, 0::2].clamp(max=width), boxes[:, 1::2].clamp(max=height)
    return torch.stack([x, y], dim=2).flatten(1)
