"""Panoptic fusions: the contract, the registry and the two fusions."""

from effps_solo.modeling.outputs import FusionThresholds

from .adaptive import AdaptiveFusion
from .base import PanopticFusion
from .build import PANOPTIC_FUSION_REGISTRY, build_panoptic_fusion
from .heuristic import HeuristicFusion

__all__ = [
    "PANOPTIC_FUSION_REGISTRY",
    "AdaptiveFusion",
    "FusionThresholds",
    "HeuristicFusion",
    "PanopticFusion",
    "build_panoptic_fusion",
]
