"""The Mask R-CNN instance head of the original EfficientPS."""

from .head import MaskRCNNInstanceHead
from .mask_head import SeparableMaskHead
from .pasted_masks import PastedMasks

__all__ = ["MaskRCNNInstanceHead", "PastedMasks", "SeparableMaskHead"]
