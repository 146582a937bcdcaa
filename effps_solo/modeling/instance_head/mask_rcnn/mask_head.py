"""The mask head of EfficientPS: Mask R-CNN's with separable convolutions."""

from typing import Any, Dict

import fvcore.nn.weight_init as weight_init
import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ConvTranspose2d, ShapeSpec
from detectron2.modeling.roi_heads import ROI_MASK_HEAD_REGISTRY
from detectron2.modeling.roi_heads.mask_head import BaseMaskRCNNHead
from torch import nn

from effps_solo.modeling.layers import separable_conv

PREDICTOR_STD = 0.001  # Mask R-CNN, as Detectron2 has it


@ROI_MASK_HEAD_REGISTRY.register()
class SeparableMaskHead(BaseMaskRCNNHead):
    """RoI features (R, C, S, S) -> mask logits (R, T, 2 S, 2 S).

    ``num_convs`` SepConvs, a 2x2 transposed convolution of stride 2 with ReLU, and a 1x1 convolution.
    Equals the released head but for its background channel, which nothing reads.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_classes: int,
        channels: int = 256,
        num_convs: int = 4,
        norm: str = "BN",
        activation: str = "leaky_relu",
        **kwargs: Any,
    ) -> None:
        """
        Args:
            input_shape: of the RoI features.
            num_classes: T; 1 for masks that do not depend on the class.
            channels: of every layer but the last.
            num_convs: number of SepConvs.
            norm, activation: names of :mod:`effps_solo.modeling.layers`, for the SepConvs.
            kwargs: of Detectron2's BaseMaskRCNNHead.
        """
        super().__init__(**kwargs)
        if norm == "SyncBN":
            # Batches without objects have no RoI, maybe on all processes: then torch's own would
            # pull its running statistics towards 0.
            norm = "naiveSyncBN"
        in_channels = [input_shape.channels, *[channels] * num_convs]
        self.convs = nn.Sequential(
            *(
                separable_conv(c, channels, norm=norm, activation=activation)
                for c in in_channels[:num_convs]
            )
        )
        self.deconv = ConvTranspose2d(in_channels[-1], channels, kernel_size=2, stride=2)
        self.deconv_relu = nn.ReLU(inplace=True)
        self.predictor = Conv2d(channels, num_classes, kernel_size=1)
        weight_init.c2_msra_fill(self.deconv)
        nn.init.normal_(self.predictor.weight, std=PREDICTOR_STD)
        nn.init.zeros_(self.predictor.bias)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> Dict[str, Any]:
        node = cfg.MODEL.ROI_MASK_HEAD
        return {
            **super().from_config(cfg, input_shape),
            "input_shape": input_shape,
            "num_classes": 1 if node.CLS_AGNOSTIC_MASK else cfg.MODEL.ROI_HEADS.NUM_CLASSES,
            "channels": node.CONV_DIM,
            "num_convs": node.NUM_CONV,
            "norm": node.NORM,
            "activation": node.ACTIVATION,
        }

    def layers(self, x: torch.Tensor) -> torch.Tensor:
        """(R, C, S, S) -> (R, T, 2 S, 2 S) logits; R may be 0."""
        return self.predictor(self.deconv_relu(self.deconv(self.convs(x))))
