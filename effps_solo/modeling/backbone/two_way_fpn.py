"""The two-way feature pyramid of EfficientPS (section 3.2).

Two independent sets of lateral 1x1 convolutions feed a top-down branch (coarse to fine) and a
bottom-up branch (fine to coarse); both resample by nearest neighbour and add. Their sum goes
through one 3x3 output convolution per level: separable in the paper, full in the released code
(``separable``). Every convolution is without bias and followed by a norm and an activation; no
activation stands between the additions and the output convolution.

Equals the released neck but for a fifth level without parameters, p6, which SOLOv2 wants, and for
the initial values, which are Detectron2's.
"""

from typing import Dict, List

import fvcore.nn.weight_init as weight_init
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import nn

from effps_solo.modeling.layers import get_activation, make_norm, separable_conv

from .efficientnet import EfficientNet


class TwoWayFPN(Backbone):
    """Backbone features res2..res5 -> p2..p5, and p6 = p5 subsampled by 2.

    All outputs have ``out_channels`` channels; strides are 4, 8, 16, 32, 64.
    """

    def __init__(
        self,
        *,
        bottom_up: Backbone,
        in_features: List[str],
        out_channels: int = 256,
        norm: str = "BN",
        activation: str = "leaky_relu",
        separable: bool = True,
    ) -> None:
        """
        Args:
            bottom_up: the backbone; its output strides must double from feature to feature.
            in_features: names of its features, fine to coarse.
            out_channels: channels of every level.
            norm, activation: names of :mod:`effps_solo.modeling.layers`.
            separable: separable 3x3 output convolutions instead of full ones.

        Raises:
            ValueError: the strides do not double.
        """
        super().__init__()
        shapes = bottom_up.output_shape()
        strides = [shapes[f].stride for f in in_features]
        if any(b != 2 * a for a, b in zip(strides, strides[1:])):
            raise ValueError(f"strides of {in_features} must double, got {strides}")
        self.bottom_up = bottom_up
        self.in_features = list(in_features)

        def lateral(channels: int) -> Conv2d:
            return self._conv(channels, out_channels, 1, norm, activation)

        def output() -> nn.Module:
            if separable:
                return separable_conv(out_channels, out_channels, norm=norm, activation=activation)
            return self._conv(out_channels, out_channels, 3, norm, activation)

        channels = [shapes[f].channels for f in in_features]
        self.lateral_top_down = nn.ModuleList(lateral(c) for c in channels)
        self.lateral_bottom_up = nn.ModuleList(lateral(c) for c in channels)
        self.output_convs = nn.ModuleList(output() for _ in channels)

        names = [f"p{int(s).bit_length() - 1}" for s in strides]
        self._last_name = f"p{int(strides[-1]).bit_length()}"
        self._out_features = [*names, self._last_name]
        all_strides = [*strides, 2 * strides[-1]]
        self._out_feature_strides = dict(zip(self._out_features, all_strides))
        self._out_feature_channels = {f: out_channels for f in self._out_features}

    @staticmethod
    def _conv(
        in_channels: int, out_channels: int, kernel_size: int, norm: str, activation: str
    ) -> Conv2d:
        conv = Conv2d(
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            padding=kernel_size // 2,
            bias=False,
            norm=make_norm(norm, out_channels),
            activation=get_activation(activation)(),
        )
        weight_init.c2_xavier_fill(conv)
        return conv

    @property
    def size_divisibility(self) -> int:
        return self._out_feature_strides[self._out_features[-2]]

    def forward(self, image: torch.Tensor) -> Dict[str, torch.Tensor]:
        """(N, 3, H, W), H and W multiples of 32 -> dict of p2 .. p6, (N, C, H/s, W/s)."""
        features = self.bottom_up(image)
        inputs = [features[f] for f in self.in_features]
        sums = [
            top_down + bottom_up
            for top_down, bottom_up in zip(self._top_down(inputs), self._bottom_up(inputs))
        ]
        outputs = [conv(x) for conv, x in zip(self.output_convs, sums)]
        # Subsampling, as Detectron2's LastLevelMaxPool: no parameters.
        outputs.append(F.max_pool2d(outputs[-1], kernel_size=1, stride=2))
        return dict(zip(self._out_features, outputs))

    def _top_down(self, inputs: List[torch.Tensor]) -> List[torch.Tensor]:
        """Laterals with the coarser levels added, coarse to fine; fine to coarse in the list."""
        outputs = [conv(x) for conv, x in zip(self.lateral_top_down, inputs)]
        for i in range(len(outputs) - 2, -1, -1):
            coarser = F.interpolate(outputs[i + 1], size=outputs[i].shape[-2:], mode="nearest")
            outputs[i] = outputs[i] + coarser
        return outputs

    def _bottom_up(self, inputs: List[torch.Tensor]) -> List[torch.Tensor]:
        """Laterals with the finer levels added, fine to coarse."""
        outputs = [conv(x) for conv, x in zip(self.lateral_bottom_up, inputs)]
        for i in range(1, len(outputs)):
            finer = F.interpolate(outputs[i - 1], size=outputs[i].shape[-2:], mode="nearest")
            outputs[i] = outputs[i] + finer
        return outputs


@BACKBONE_REGISTRY.register()
def build_efficientnet_two_way_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TwoWayFPN:
    """EfficientNet with the two-way FPN, from ``MODEL.EFFICIENTNET`` and ``MODEL.TWO_WAY_FPN``."""
    node = cfg.MODEL.TWO_WAY_FPN
    return TwoWayFPN(
        bottom_up=EfficientNet(cfg, input_shape),
        in_features=node.IN_FEATURES,
        out_channels=node.OUT_CHANNELS,
        norm=node.NORM,
        activation=node.ACTIVATION,
        separable=node.SEPARABLE,
    )
