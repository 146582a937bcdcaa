"""Instance heads: the contract, the registry and the heads."""

from .base import (
    InstanceHead,
    InstanceTargets,
    MaskSource,
    StepTotals,
    Stride4Masks,
    total_over_processes,
)
from .build import INSTANCE_HEAD_REGISTRY, build_instance_head
from .mask_rcnn import MaskRCNNInstanceHead, PastedMasks
from .no_instances import NoInstanceHead
from .solov2 import PublishedSOLOv2InstanceHead, SOLOv2InstanceHead

__all__ = [
    "INSTANCE_HEAD_REGISTRY",
    "InstanceHead",
    "InstanceTargets",
    "MaskRCNNInstanceHead",
    "MaskSource",
    "NoInstanceHead",
    "PastedMasks",
    "PublishedSOLOv2InstanceHead",
    "SOLOv2InstanceHead",
    "StepTotals",
    "Stride4Masks",
    "build_instance_head",
    "total_over_processes",
]
