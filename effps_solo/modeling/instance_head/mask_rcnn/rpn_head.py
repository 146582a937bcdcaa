"""The proposal head of EfficientPS with a separable convolution, as its paper has them everywhere.

The released config has the plain one, which is Detectron2's StandardRPNHead.
"""

from typing import Any, Dict, List

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.proposal_generator import RPN_HEAD_REGISTRY
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead

from effps_solo.modeling.layers import separable_conv


@RPN_HEAD_REGISTRY.register()
class SeparableRPNHead(StandardRPNHead):
    """StandardRPNHead with a SepConv (norm and activation behind both parts) for its 3x3."""

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        num_anchors: int,
        box_dim: int = 4,
        norm: str = "BN",
        activation: str = "leaky_relu",
    ) -> None:
        """
        Args:
            in_channels: of every level, and behind the SepConv.
            num_anchors: of a cell.
            box_dim: numbers per box.
            norm, activation: names of :mod:`effps_solo.modeling.layers`.
        """
        super().__init__(in_channels=in_channels, num_anchors=num_anchors, box_dim=box_dim)
        self.conv = separable_conv(in_channels, in_channels, norm=norm, activation=activation)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: List[ShapeSpec]) -> Dict[str, Any]:
        arguments = super().from_config(cfg, input_shape)
        del arguments["conv_dims"]
        return {**arguments, "norm": cfg.MODEL.RPN.NORM, "activation": cfg.MODEL.RPN.ACTIVATION}
