"""LSFE, DPC and MC: the three blocks of EfficientPS's semantic head (section 3.3).

SepConv is depthwise 3x3, norm, activation, pointwise 1x1, norm, activation
(:func:`effps_solo.modeling.layers.separable_conv`). All blocks keep (H, W) but MC, which doubles it. They
equal the released ones.
"""

from typing import Tuple

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d
from torch import nn

from effps_solo.modeling.layers import get_activation, make_norm, separable_conv

# (rows, columns) of the five dilated SepConvs, in order.
DPC_DILATIONS: Tuple[Tuple[int, int], ...] = ((1, 6), (1, 1), (6, 21), (18, 15), (6, 3))


class LargeScaleFeatureExtractor(nn.Sequential):
    """LSFE: two SepConvs, (N, in, H, W) -> (N, out, H, W), for the fine levels p2 and p3."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: str, activation: str) -> None:
        super().__init__(
            separable_conv(in_channels, out_channels, norm=norm, activation=activation),
            separable_conv(out_channels, out_channels, norm=norm, activation=activation),
        )


class DensePredictionCell(nn.Module):
    """DPC: five dilated SepConvs, concatenated and projected, for p4 and p5.

    (N, in, H, W) -> (N, out, H, W). The first reads the input, the second to fourth the first, the
    fifth the fourth. The paper's text says 256 output channels, its figure and the
    released code 128.
    """

    def __init__(self, in_channels: int, out_channels: int, *, norm: str, activation: str) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            separable_conv(
                in_channels, in_channels, norm=norm, activation=activation, dilation=dilation
            )
            for dilation in DPC_DILATIONS
        )
        self.project = Conv2d(
            in_channels * len(DPC_DILATIONS),
            out_channels,
            kernel_size=1,
            bias=False,
            norm=make_norm(norm, out_channels),
            activation=get_activation(activation)(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.convs[0](x)
        fourth = self.convs[3](first)
        outputs = [first, self.convs[1](first), self.convs[2](first), fourth, self.convs[4](fourth)]
        return self.project(torch.cat(outputs, dim=1))


class MismatchCorrection(nn.Module):
    """MC: two SepConvs and bilinear x2, (N, C, H, W) -> (N, C, 2H, 2W)."""

    def __init__(self, channels: int, *, norm: str, activation: str) -> None:
        super().__init__()
        self.convs = LargeScaleFeatureExtractor(
            channels, channels, norm=norm, activation=activation
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(self.convs(x), scale_factor=2, mode="bilinear", align_corners=False)
