"""Backbones: EfficientNet (timm) and the two-way FPN."""

from .efficientnet import EfficientNet
from .two_way_fpn import TwoWayFPN, build_efficientnet_two_way_fpn_backbone

__all__ = ["EfficientNet", "TwoWayFPN", "build_efficientnet_two_way_fpn_backbone"]
