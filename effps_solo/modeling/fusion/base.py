"""The contract of a panoptic fusion, and the steps that all fusions share.

C classes, T of them things, K instances; h4 x w4 stride-4 points; H x W output pixels.
"""

import math
from abc import ABC, abstractmethod
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Instances
from torch import nn

from effps_solo.modeling.outputs import FusionThresholds
from effps_solo.modeling.pixel_labels import PixelLabels
from effps_solo.modeling.upsampling import Size
from effps_solo.structures.label_space import PanopticLabelSpace

from .segments import SegmentTable, number_segments

SegmentsInfo = List[Dict[str, Any]]


class PanopticFusion(nn.Module, ABC):
    """Merges semantic logits and instances into one panoptic map; has no parameters."""

    @configurable
    def __init__(
        self,
        *,
        label_space: PanopticLabelSpace,
        thresholds: FusionThresholds = FusionThresholds(),
        void_unclaimed_things: bool = True,
    ) -> None:
        """
        Args:
            label_space: of the data set.
            thresholds: where a call names no others.
            void_unclaimed_things: pixels that the semantic head gives to a class of things, and no
                instance claims, are void; else they get the best stuff class.
        """
        super().__init__()
        self.label_space = label_space
        self.thresholds = thresholds
        self.void_unclaimed_things = void_unclaimed_things

    @classmethod
    def from_config(cls, cfg: CfgNode, label_space: PanopticLabelSpace) -> Dict[str, Any]:
        node = cfg.MODEL.PANOPTIC_FUSION
        return {
            "label_space": label_space,
            "thresholds": FusionThresholds(
                node.SCORE_THRESH, node.OVERLAP_THRESH, node.STUFF_AREA_FRACTION
            ),
            "void_unclaimed_things": node.VOID_UNCLAIMED_THINGS,
        }

    @abstractmethod
    def forward(
        self,
        semantic_logits: torch.Tensor,
        instances: Instances,
        output_size: Size,
        thresholds: Optional[FusionThresholds] = None,
    ) -> Tuple[torch.Tensor, SegmentsInfo]:
        """
        Args:
            semantic_logits: (C, h4, w4) at stride 4, without padding.
            instances: an instance head's result for this image, K of them, best first.
            output_size: (H, W).
            thresholds: None: the fusion's own.

        Returns:
            panoptic_seg: (H, W) int32, 0 is void.
            segments_info: one dict per segment: id, category_id (contiguous), isthing (bool),
                score in [0, 1] and area in output pixels. Things come first, best first.
        """

    def _unclaimed(self, semantic_logits: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """What competes for the pixels that no instance claims: logits (R, h4, w4), class ids (R,)."""
        space = self.label_space
        if self.void_unclaimed_things or not space.stuff_ids:
            return semantic_logits, self._ids(range(space.num_classes), semantic_logits)
        ids = self._ids(space.stuff_ids, semantic_logits)
        return semantic_logits.index_select(0, ids), ids

    def assemble(
        self,
        code: PixelLabels,
        scores: torch.Tensor,
        thing_index: torch.Tensor,
        class_scores: torch.Tensor,
        stuff_area: float,
    ) -> Tuple[torch.Tensor, SegmentTable]:
        """Number the segments, drop small stuff, count areas.

        Args:
            code: of H x W pixels what holds it: k for the k-th instance, K + c for the class of
                the contiguous id c, which is void if it is a class of things, K + C for void.
            scores, thing_index: (K,) of the instances.
            class_scores: (C,) of the stuff segments, :func:`.segments.mean_winning_probability`.
            stuff_area: of :class:`FusionThresholds`.

        Returns:
            panoptic_seg (H, W), and a table of K + C rows, instances first, then classes.
        """
        space = self.label_space
        thing_ids = self._ids(space.thing_ids, scores)
        classes = torch.arange(space.num_classes, device=scores.device)
        is_thing_class = (classes[:, None] == thing_ids).any(dim=1)
        is_instance = torch.ones_like(thing_index, dtype=torch.bool)
        # No instance holds the pixels of a thing class: they are void, however many.
        min_stuff_area = max(1.0, stuff_area * (code.size[0] * code.size[1]))
        min_areas = torch.where(is_thing_class, math.inf, min_stuff_area)
        return number_segments(
            code,
            category_ids=torch.cat([thing_ids[thing_index], classes]),
            isthing=torch.cat([is_instance, is_thing_class]),
            scores=torch.cat([scores, class_scores]),
            min_areas=torch.cat([is_instance.to(min_areas.dtype), min_areas]),
        )

    @staticmethod
    def _ids(ids: Sequence[int], like: torch.Tensor) -> torch.Tensor:
        """Class ids as an int64 tensor on the device of ``like``."""
        return torch.tensor(ids, dtype=torch.int64, device=like.device)
