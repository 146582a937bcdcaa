"""Panoptic fusions: the contract, the registry and the two fusions."""

from .adaptive import AdaptiveFusion
from .base import FusionThresholds, PanopticFusion
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
