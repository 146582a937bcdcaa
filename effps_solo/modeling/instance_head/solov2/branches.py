"""The three branches of SOLOv2 in two variants, each a module over neck features.

Grid branches, whose weights the levels share: L features (N, C, H_l, W_l), fine to coarse, and as many grids
-> per level category logits (N, T, S_h, S_w) and kernels (N, D, S_h, S_w). Mask branch: features of
strides 4 to 32 -> (N, E, Hp/4, Wp/4).

``Full*`` equals the published head: coordinates are concatenated at feature resolution *before* the
resize to the grid, plain 3x3 convolutions without bias + norm + ReLU, mask features behind a ReLU.
The mask branch has its coordinates on the last level, as in mmdetection; AdelaiDet and
WXinlong/SOLO have them on the fourth, which is the same for four levels.

``Efficient*`` departs in the manner of EfficientPS: separable convolutions, fewer channels, 1x1
predictors, one resize of each level to its grid or to stride 4. Coordinates are made at the grid
and enter as a pointwise term before the first norm, which equals a 1x1 convolution over the
concatenation.
"""

import math
from typing import Any, List, Sequence, Tuple

import torch
import torch.nn.functional as F
from detectron2.layers import Conv2d
from torch import nn

from effps_solo.modeling.layers import fold_norm, make_norm, separable_conv
from effps_solo.utils.errors import ConfigError

from .grids import Grids
from .levels import run_on_levels

ACTIVATION = "relu"
CATEGORY_PRIOR = 0.01  # probability that an untrained head gives to every class
INIT_STD = 0.01


def coordinates(like: torch.Tensor) -> torch.Tensor:
    """(1, 2, H, W) for maps (..., H, W): x, then y, from -1 to 1 inclusive, in at least fp32."""
    height, width = like.shape[-2:]
    dtype = torch.promote_types(like.dtype, torch.float32)
    y, x = (_from_minus_one_to_one(n, dtype, like.device) for n in (height, width))
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)])[None]


def _from_minus_one_to_one(count: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """(count,); only -1 for one. torch.linspace makes a constant of a size that an export leaves open."""
    steps = max(count - 1, 1)
    return (2 * torch.arange(count, device=device) - steps).to(dtype) / steps


def _resize(x: torch.Tensor, size: Tuple[int, int]) -> torch.Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _conv_norm_relu(in_channels: int, out_channels: int, kernel_size: int, norm: str) -> Conv2d:
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        padding=kernel_size // 2,
        bias=not norm,
        norm=make_norm(norm, out_channels) if norm else None,
        activation=nn.ReLU(inplace=True),
    )
    nn.init.normal_(conv.weight, std=INIT_STD)
    return conv


def _predictor(in_channels: int, out_channels: int, kernel_size: int, bias: float) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    nn.init.normal_(conv.weight, std=INIT_STD)
    nn.init.constant_(conv.bias, bias)
    return conv


def _category_bias() -> float:
    return -math.log((1 - CATEGORY_PRIOR) / CATEGORY_PRIOR)


class FullGridBranches(nn.Module):
    """The published category and kernel branches: two towers of 3x3 convolutions."""

    def __init__(
        self,
        in_channels: int,
        *,
        num_classes: int,
        kernel_size: int,
        channels: int = 512,
        num_convs: int = 4,
        norm: str = "GN",
    ) -> None:
        super().__init__()

        def tower(first: int) -> nn.Sequential:
            inputs = [first] + [channels] * (num_convs - 1)
            return nn.Sequential(*(_conv_norm_relu(c, channels, 3, norm) for c in inputs))

        self.category_tower = tower(in_channels)
        self.kernel_tower = tower(in_channels + 2)
        self.category_predictor = _predictor(channels, num_classes, 3, _category_bias())
        self.kernel_predictor = _predictor(channels, kernel_size, 3, 0.0)

    def forward(
        self, features: List[torch.Tensor], num_grids: Grids
    ) -> Tuple[List[torch.Tensor], List[torch.Tensor]]:
        features = list(features)
        # As published: the finest level is halved first, the coarsest enlarged to the one before.
        features[0] = F.interpolate(
            features[0], scale_factor=0.5, mode="bilinear", align_corners=False
        )
        features[-1] = _resize(features[-1], features[-2].shape[-2:])
        outputs = [self._forward_level(x, grid) for x, grid in zip(features, num_grids)]
        return [category for category, _ in outputs], [kernel for _, kernel in outputs]

    def _forward_level(
        self, feature: torch.Tensor, grid: Tuple[int, int]
    ) -> Tuple[torch.Tensor, torch.Tensor]:
        x = _resize(feature, grid)
        xy = _resize(coordinates(feature), grid)
        xy = xy.expand(len(x), -1, -1, -1).to(x.dtype)
        category = self.category_predictor(self.category_tower(x))
        kernel = self.kernel_predictor(self.kernel_tower(torch.cat([x, xy], dim=1)))
        return category, kernel


class EfficientGridBranches(nn.Module):
    """Category and kernel branches of separable convolutions, 1x1 predictors."""

    def __init__(
        self,
        in_channels: int,
        *,
        num_classes: int,
        kernel_size: int,
        channels: int = 192,
        num_convs: int = 3,
        norm: str = "GN",
    ) -> None:
        super().__init__()

        def tower() -> nn.Sequential:
            return nn.Sequential(
                *(
                    separable_conv(channels, channels, norm=norm, activation=ACTIVATION)
                    for _ in range(num_convs - 1)
                )
            )

        self.category_stem = _conv_norm_relu(in_channels, channels, 1, norm)
        self.kernel_stem = CoordinateConv(in_channels, channels, norm=norm)
        self.category_tower = tower()
        self.kernel_tower = tower()
        self.category_predictor = _predictor(channels, num_classes, 1, _category_bias())
        self.kernel_predictor = _predictor(channels, kernel_size, 1, 0.0)

    def forward(
        self, features: List[torch.Tensor], num_grids: Grids
    ) -> Tuple[List[torch.Tensor], List[torch.Tensor]]:
        levels = [_resize(x, grid) for x, grid in zip(features, num_grids)]
        category = run_on_levels([self.category_stem, *self.category_tower], levels)
        kernels = run_on_levels([self.kernel_stem, *self.kernel_tower], levels)
        return [self.category_predictor(x) for x in category], [
            self.kernel_predictor(x) for x in kernels
        ]


class CoordinateConv(nn.Module):
    """1x1 convolution over (features, x, y), norm, ReLU: (N, in, H, W) -> (N, out, H, W).

    The coordinates have a convolution of their own, in fp32 and once per size, not per image.
    """

    def __init__(self, in_channels: int, out_channels: int, *, norm: str) -> None:
        super().__init__()
        self.feature = nn.Conv2d(in_channels, out_channels, 1, bias=not norm)
        self.position = nn.Conv2d(2, out_channels, 1, bias=False)
        self.norm = make_norm(norm, out_channels) if norm else nn.Identity()
        self.activation = nn.ReLU(inplace=True)
        nn.init.normal_(self.feature.weight, std=INIT_STD)
        # Two channels against hundreds: the term must be of the order of the features' sum.
        nn.init.normal_(self.position.weight, std=INIT_STD * math.sqrt(in_channels / 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.activation(self.norm(self.linear(x)))
        return result

    def linear(self, x: torch.Tensor) -> torch.Tensor:
        """What enters the norm."""
        # In the low precision of autocast, neighbours in a wide map have the same coordinates.
        with torch.autocast(x.device.type, enabled=False):
            position = self.position(coordinates(x))
        feature = self.feature(x)
        return (feature + position).to(feature.dtype)

    def fold_norms(self) -> None:
        """See :func:`effps_solo.inference.preparation.fold_norms`."""
        # Both convolutions are folded with the whole norm; the features' have its bias.
        if fold_norm(self.feature, self.norm) and fold_norm(self.position, self.norm):
            self.position.bias = None
            self.norm = nn.Identity()


class FullMaskBranch(nn.Module):
    """The published mask-feature branch: per level 3x3 convolutions and bilinear x2, summed.

    The last level sees the coordinates. Output behind norm and ReLU.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        channels: int = 128,
        out_channels: int = 256,
        norm: str = "GN",
    ) -> None:
        super().__init__()
        last = len(in_channels) - 1
        self.levels = nn.ModuleList()
        for level, first in enumerate(in_channels):
            first = first + 2 if level == last else first
            inputs = [first] + [channels] * (max(level, 1) - 1)
            self.levels.append(nn.ModuleList(_conv_norm_relu(c, channels, 3, norm) for c in inputs))
        self.predictor = _conv_norm_relu(channels, out_channels, 1, norm)

    def forward(self, features: List[torch.Tensor]) -> torch.Tensor:
        total = None
        for level, (x, convs) in enumerate(zip(features, self.levels)):
            if level == len(self.levels) - 1:
                xy = coordinates(x).expand(len(x), -1, -1, -1)
                x = torch.cat([x, xy.to(x.dtype)], dim=1)
            for conv in convs:
                x = conv(x)
                if level > 0:
                    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            total = x if total is None else total + x
        return self.predictor(total)


class EfficientMaskBranch(nn.Module):
    """One separable convolution per level, one resize to stride 4, a sum, one more SepConv."""

    def __init__(
        self,
        in_channels: Sequence[int],
        *,
        channels: int = 96,
        out_channels: int = 96,
        norm: str = "GN",
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            separable_conv(c, channels, norm=norm, activation=ACTIVATION) for c in in_channels[:-1]
        )
        self.last_level = CoordinateConv(in_channels[-1], channels, norm=norm)
        self.fuse = separable_conv(channels, channels, norm=norm, activation=ACTIVATION)
        self.predictor = _conv_norm_relu(channels, out_channels, 1, norm)

    def forward(self, features: List[torch.Tensor]) -> torch.Tensor:
        size = features[0].shape[-2:]
        total = self.levels[0](features[0])
        for x, conv in zip(features[1:-1], self.levels[1:]):
            total = total + _resize(conv(x), size)
        total = total + _resize(self.last_level(features[-1]), size)
        return self.predictor(self.fuse(total))


def branch_types(variant: str) -> Tuple[Any, Any]:
    """The classes of the grid and mask branches of a variant; ConfigError when it is unknown."""
    types = {
        "efficient": (EfficientGridBranches, EfficientMaskBranch),
        "full": (FullGridBranches, FullMaskBranch),
    }
    if variant not in types:
        raise ConfigError(f"MODEL.SOLOV2.VARIANT is '{variant}'; choose one of {list(types)}")
    return types[variant]
