"""The contract of a panoptic fusion, and the steps that all fusions share.

C classes, T of them things, K instances; h4 x w4 stride-4 points; H x W output pixels.
"""

from abc import ABC, abstractmethod
from typing import Any, Dict, List, Sequence, Tuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Instances
from torch import nn

from ..label_space import PanopticLabelSpace

Size = Tuple[int, int]
SegmentsInfo = List[Dict[str, Any]]
VOID = 0  # segment id


class PanopticFusion(nn.Module, ABC):
    """Merges semantic logits and instances into one panoptic map; has no parameters."""

    @configurable
    def __init__(
        self,
        *,
        label_space: PanopticLabelSpace,
        score_thresh: float = 0.5,
        overlap_thresh: float = 0.5,
        stuff_area_fraction: float = 2048 / (1024 * 2048),
    ) -> None:
        """
        Args:
            label_space: of the data set.
            score_thresh: instances below it are left out.
            overlap_thresh: an instance of which a larger fraction is taken already is left out.
            stuff_area_fraction: stuff classes that cover less of the image become void.
        """
        super().__init__()
        self.label_space = label_space
        self.score_thresh = score_thresh
        self.overlap_thresh = overlap_thresh
        self.stuff_area_fraction = stuff_area_fraction

    @classmethod
    def from_config(cls, cfg: CfgNode, label_space: PanopticLabelSpace) -> Dict[str, Any]:
        node = cfg.MODEL.PANOPTIC_FUSION
        return {
            "label_space": label_space,
            "score_thresh": node.SCORE_THRESH,
            "overlap_thresh": node.OVERLAP_THRESH,
            "stuff_area_fraction": node.STUFF_AREA_FRACTION,
        }

    @abstractmethod
    def forward(
        self,
        semantic_logits: torch.Tensor,
        instances: Instances,
        output_size: Size,
    ) -> Tuple[torch.Tensor, SegmentsInfo]:
        """
        Args:
            semantic_logits: (C, h4, w4) at stride 4, without padding.
            instances: an instance head's result for this image, K of them, best first.
            output_size: (H, W).

        Returns:
            panoptic_seg: (H, W) int32, 0 is void.
            segments_info: one dict per segment: id, category_id (contiguous), isthing (bool),
                score in [0, 1] and area in output pixels. Things come first, best first.
        """

    def _confident(self, instances: Instances) -> Instances:
        """The instances that reach ``score_thresh``, best first."""
        instances = instances[instances.scores >= self.score_thresh]
        return instances[instances.scores.argsort(descending=True, stable=True)]

    @staticmethod
    def _ids(ids: Sequence[int], like: torch.Tensor) -> torch.Tensor:
        """Class ids as an int64 tensor on the device of ``like``."""
        return torch.tensor(ids, dtype=torch.int64, device=like.device)

    def _is_thing(self, device: torch.device) -> torch.Tensor:
        """(C,) bool."""
        is_thing = torch.zeros(self.label_space.num_classes, dtype=torch.bool, device=device)
        is_thing[list(self.label_space.thing_ids)] = True
        return is_thing

    def _assemble(
        self,
        owner: torch.Tensor,
        stuff: torch.Tensor,
        instances: Instances,
        semantic_logits: torch.Tensor,
    ) -> Tuple[torch.Tensor, SegmentsInfo]:
        """Number the segments, drop small stuff, count areas.

        Args:
            owner: (H, W) int64, index of the instance that holds a pixel, -1 for none.
            stuff: (H, W) int64, contiguous id of the stuff class of a pixel that no instance holds;
                a thing class or ``ignore_label`` there means void.
            instances: those that ``owner`` indexes.
            semantic_logits: (C, h4, w4), for the scores of the stuff segments.
        """
        label_space = self.label_space
        num_instances, num_classes = len(instances), label_space.num_classes
        # One code per pixel: instances, then classes, then void; one count gives all the areas.
        void_code = num_instances + num_classes
        code = torch.where(stuff < num_classes, stuff + num_instances, void_code)
        code = torch.where(owner >= 0, owner, code)
        areas = torch.bincount(code.flatten(), minlength=void_code + 1).tolist()
        min_stuff_area = self.stuff_area_fraction * owner.numel()
        stuff_scores = _mean_winning_probability(semantic_logits)

        segments: SegmentsInfo = []
        id_of_code = torch.zeros(void_code + 1, dtype=torch.int32, device=owner.device)

        def add(position: int, category_id: int, isthing: bool, score: float) -> None:
            segments.append(
                {
                    "id": len(segments) + 1,
                    "category_id": category_id,
                    "isthing": isthing,
                    "score": score,
                    "area": areas[position],
                }
            )
            id_of_code[position] = len(segments)

        scores, thing_index = instances.scores.tolist(), instances.thing_index.tolist()
        for k in range(num_instances):
            if areas[k] > 0:
                add(k, label_space.thing_contiguous_id(thing_index[k]), True, scores[k])
        for category_id in label_space.stuff_ids:
            position = num_instances + category_id
            if areas[position] > 0 and areas[position] >= min_stuff_area:
                add(position, category_id, False, stuff_scores[category_id])
        return id_of_code[code], segments


def _mean_winning_probability(semantic_logits: torch.Tensor) -> List[float]:
    """Per class the mean softmax probability over the stride-4 points that it wins, else 0."""
    probability, winner = semantic_logits.float().softmax(dim=0).max(dim=0)
    num_classes = len(semantic_logits)
    total = torch.bincount(winner.flatten(), probability.flatten(), minlength=num_classes)
    count = torch.bincount(winner.flatten(), minlength=num_classes)
    return (total / count.clamp(min=1)).tolist()
