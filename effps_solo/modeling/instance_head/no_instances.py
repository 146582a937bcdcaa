"""The instance head of data sets without things."""

from typing import Dict, List, Tuple

import torch
from detectron2.structures import Boxes, Instances

from effps_solo.modeling.upsampling import stride4_size

from .base import Features, InstanceHead, InstanceTargets, Sizes, StepTotals, Stride4Masks


class NoInstanceHead(InstanceHead):
    """No parameters, no losses, never an instance."""

    num_classes = 0

    def losses(
        self, features: Features, image_sizes: Sizes, targets: InstanceTargets, totals: StepTotals
    ) -> Dict[str, torch.Tensor]:
        """{}; see :meth:`InstanceHead.losses`."""
        return {}

    def inference(
        self, features: Features, image_sizes: Sizes, *, min_score: float = 0.0, scale: float = 1.0
    ) -> List[Instances]:
        """See :meth:`InstanceHead.inference`; K is 0."""
        like = next(iter(features.values())).float()
        return [_no_instances(size, like) for size in image_sizes]


def _no_instances(image_size: Tuple[int, int], like: torch.Tensor) -> Instances:
    """Empty ``Instances`` with the fields of the contract, on the device of ``like``."""
    instances = Instances(image_size)
    instances.scores = like.new_zeros(0)
    instances.thing_index = like.new_zeros(0, dtype=torch.int64)
    instances.pred_boxes = Boxes(like.new_zeros(0, 4))
    instances.mask_source = Stride4Masks(like.new_zeros(0, *stride4_size(image_size)))
    return instances
