"""The two-way FPN against a plain re-statement of section 3.2 of the paper."""

from typing import Dict, List

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone, build_backbone
from torch import nn

from effps_solo import add_effps_solo_config
from effps_solo.modeling.backbone import EfficientNet, TwoWayFPN

NAMES = ["res2", "res3", "res4", "res5"]


class FixedFeatures(Backbone):
    """A backbone whose features are a fixed random function of the image."""

    def __init__(self, channels: List[int], strides: List[int] = [4, 8, 16, 32]) -> None:
        super().__init__()
        self._out_features = NAMES
        self._out_feature_channels = dict(zip(NAMES, channels))
        self._out_feature_strides = dict(zip(NAMES, strides))

    def forward(self, image: torch.Tensor) -> Dict[str, torch.Tensor]:
        features = {}
        for name in NAMES:
            pooled = F.avg_pool2d(image, self._out_feature_strides[name])
            repeats = -(-self._out_feature_channels[name] // 3)
            features[name] = pooled.repeat(1, repeats, 1, 1)[:, : self._out_feature_channels[name]]
        return features


def _randomise_norms(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, -1, 1)
            nn.init.normal_(layer.bias)


def _norm_leaky(x: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-5)
    return torch.where(x > 0, x, 0.01 * x)


def _lateral(x: torch.Tensor, conv: nn.Module) -> torch.Tensor:
    return _norm_leaky(torch.einsum("nchw,oc->nohw", x, conv.weight[:, :, 0, 0]), conv.norm)


def _restatement(fpn: TwoWayFPN, features: List[torch.Tensor]) -> List[torch.Tensor]:
    f4, f8, f16, f32 = features
    down = [_lateral(x, conv) for x, conv in zip(features, fpn.lateral_top_down)]
    up = [_lateral(x, conv) for x, conv in zip(features, fpn.lateral_bottom_up)]

    def doubled(x: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    def halved(x: torch.Tensor) -> torch.Tensor:
        return x[:, :, ::2, ::2]

    t32 = down[3]
    t16 = down[2] + doubled(t32)
    t8 = down[1] + doubled(t16)
    t4 = down[0] + doubled(t8)
    b4 = up[0]
    b8 = up[1] + halved(b4)
    b16 = up[2] + halved(b8)
    b32 = up[3] + halved(b16)

    outputs = []
    for x, conv in zip([t4 + b4, t8 + b8, t16 + b16, t32 + b32], fpn.output_convs):
        if hasattr(conv, "depthwise"):
            depthwise, pointwise = conv.depthwise, conv.pointwise
            x = F.conv2d(x, depthwise.weight, padding=1, groups=x.shape[1])
            x = _lateral(_norm_leaky(x, depthwise.norm), pointwise)
        else:
            x = _norm_leaky(F.conv2d(x, conv.weight, padding=1), conv.norm)
        outputs.append(x)
    return [*outputs, halved(outputs[3])]


@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize("size", [(64, 160), (96, 32), (32, 32)])
def test_forward_equals_a_plain_restatement(separable: bool, size: tuple) -> None:
    torch.manual_seed(0)
    fpn = TwoWayFPN(
        bottom_up=FixedFeatures([5, 6, 7, 8]),
        in_features=NAMES,
        out_channels=12,
        separable=separable,
    ).eval()
    _randomise_norms(fpn)
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        actual = fpn(image)
        expected = _restatement(fpn, list(fpn.bottom_up(image).values()))
    assert list(actual) == ["p2", "p3", "p4", "p5", "p6"]
    for name, stride, value in zip(actual, [4, 8, 16, 32, 64], expected):
        assert actual[name].shape == (2, 12, -(-size[0] // stride), -(-size[1] // stride))
        torch.testing.assert_close(actual[name], value, rtol=1e-4, atol=1e-4)


def test_output_shape() -> None:
    fpn = TwoWayFPN(bottom_up=FixedFeatures([5, 6, 7, 8]), in_features=NAMES, out_channels=16)
    shapes = fpn.output_shape()
    assert {name: (s.channels, s.stride) for name, s in shapes.items()} == {
        "p2": (16, 4),
        "p3": (16, 8),
        "p4": (16, 16),
        "p5": (16, 32),
        "p6": (16, 64),
    }
    assert fpn.size_divisibility == 32


def _own_parameters(fpn: TwoWayFPN) -> int:
    return sum(p.numel() for n, p in fpn.named_parameters() if not n.startswith("bottom_up."))


def test_parameter_counts_of_the_b5_layouts() -> None:
    bottom_up = FixedFeatures([40, 64, 176, 2048])
    released = TwoWayFPN(bottom_up=bottom_up, in_features=NAMES, separable=False)
    assert _own_parameters(released) == 3_557_376
    paper = TwoWayFPN(bottom_up=bottom_up, in_features=NAMES)
    # 4 x (3x3 full + norm) become 4 x (3x3 depthwise + norm + 1x1 + norm).
    full, separable = 256 * 256 * 9 + 512, 256 * 9 + 512 + 256 * 256 + 512
    assert _own_parameters(paper) == 3_557_376 - 4 * full + 4 * separable


def test_both_ways_reach_every_level() -> None:
    """A change of one input level changes all four outputs: one branch goes up, the other down."""
    torch.manual_seed(0)
    fpn = TwoWayFPN(bottom_up=FixedFeatures([5, 6, 7, 8]), in_features=NAMES, out_channels=8).eval()
    features = fpn.bottom_up(torch.randn(1, 3, 64, 64))
    for changed in NAMES:
        fpn.bottom_up.forward = lambda _: features  # type: ignore[method-assign]
        before = fpn(torch.empty(0))
        other = {n: x + 1 if n == changed else x for n, x in features.items()}
        fpn.bottom_up.forward = lambda _: other  # type: ignore[method-assign]
        after = fpn(torch.empty(0))
        assert all(not torch.equal(before[p], after[p]) for p in ("p2", "p3", "p4", "p5"))


def test_strides_must_double() -> None:
    with pytest.raises(ValueError, match=r"must double, got \[4, 8, 32, 64\]"):
        TwoWayFPN(bottom_up=FixedFeatures([5, 6, 7, 8], [4, 8, 32, 64]), in_features=NAMES)


def test_built_from_config() -> None:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.MODEL.BACKBONE.NAME = "build_efficientnet_two_way_fpn_backbone"
    cfg.MODEL.EFFICIENTNET.NAME = "tf_efficientnet_lite0"
    cfg.MODEL.TWO_WAY_FPN.OUT_CHANNELS = 64
    cfg.MODEL.TWO_WAY_FPN.SEPARABLE = False
    fpn = build_backbone(cfg, ShapeSpec(channels=3))
    assert isinstance(fpn, TwoWayFPN) and isinstance(fpn.bottom_up, EfficientNet)
    assert fpn.output_shape()["p2"].channels == 64
    assert fpn.output_convs[0].weight.shape == (64, 64, 3, 3)
