"""The Mask R-CNN instance head of the original EfficientPS."""

from .head import MaskRCNNInstanceHead
from .mask_head import SeparableMaskHead
from .pasted_masks import PastedMasks
from .rpn_head import SeparableRPNHead

__all__ = ["MaskRCNNInstanceHead", "PastedMasks", "SeparableMaskHead", "SeparableRPNHead"]
