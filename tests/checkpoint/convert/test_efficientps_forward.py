"""Converted EfficientPS weights compute what the published network computes with the original ones.

The re-statement here works on the foreign state dict, in plain functions of torch, from the
description of the network: in-place ABN scales by |weight| + eps, TensorFlow's SAME padding, an
activation after conv_pw of stage 0, laterals of the bottom-up branch stored coarse to fine.
"""

from typing import Any, Callable, Dict, List, Tuple

import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from torch import nn

from effps_solo.checkpoint.convert import convert_checkpoint
from effps_solo.modeling.backbone import EfficientNet, TwoWayFPN
from effps_solo.modeling.sem_seg_head import EfficientPSSemanticHead

State = Dict[str, torch.Tensor]
STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the first block of each stage
FEATURE_STAGES = (1, 2, 4)
DILATIONS = ((1, 6), (1, 1), (6, 21), (18, 15), (6, 3))
LEVELS = ["p2", "p3", "p4", "p5"]


def bilinear(x: torch.Tensor, size: Tuple[int, ...]) -> torch.Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class Published:
    """EfficientPS up to the semantic logits, on the names of its checkpoints."""

    def __init__(self, state: State) -> None:
        self.state = state

    def abn(self, x: torch.Tensor, name: str, eps: float = 1e-5, linear: bool = False) -> Any:
        weight, bias, mean, var = (
            self.state[f"{name}.{part}"].view(1, -1, 1, 1)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        x = (x - mean) / (var + eps).sqrt() * (weight.abs() + eps) + bias
        return x if linear else torch.where(x < 0, 0.01 * x, x)

    def conv(self, x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        """SAME: ceil(n / stride) outputs; an odd pixel of padding is at the end."""
        weight = self.state[f"{name}.weight"]
        padding: List[int] = []
        for axis in (3, 2):
            n, k = x.shape[axis], weight.shape[axis]
            total = max(0, (-(-n // stride) - 1) * stride + k - n)
            padding += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, padding), weight, None, stride, 0, 1, self._groups(x, weight))

    @staticmethod
    def _groups(x: torch.Tensor, weight: torch.Tensor) -> int:
        return x.shape[1] // weight.shape[1]

    def block(self, x: torch.Tensor, name: str, stage: int, stride: int) -> torch.Tensor:
        eps = 1e-3
        if stage == 0:
            y = self.abn(self.conv(x, f"{name}.conv_dw", stride), f"{name}.bn1", eps)
            y = self.abn(self.conv(y, f"{name}.conv_pw"), f"{name}.bn2", eps)
        else:
            y = self.abn(self.conv(x, f"{name}.conv_pw"), f"{name}.bn1", eps)
            y = self.abn(self.conv(y, f"{name}.conv_dw", stride), f"{name}.bn2", eps)
            y = self.abn(self.conv(y, f"{name}.conv_pwl"), f"{name}.bn3", eps, linear=True)
        return x + y if x.shape == y.shape else y

    def backbone(self, image: torch.Tensor) -> List[torch.Tensor]:
        x = self.abn(self.conv(image, "backbone.conv_stem", 2), "backbone.bn1", 1e-3)
        features = []
        for stage, first_stride in enumerate(STRIDES):
            index = 0
            while f"backbone.blocks.{stage}.{index}.conv_dw.weight" in self.state:
                stride = 1 if index else first_stride
                x = self.block(x, f"backbone.blocks.{stage}.{index}", stage, stride)
                index += 1
            if stage in FEATURE_STAGES:
                features.append(x)
        return [*features, self.abn(self.conv(x, "backbone.conv_head"), "backbone.bn2", 1e-3)]

    def module(self, x: torch.Tensor, name: str) -> torch.Tensor:
        """Convolution and ABN."""
        return self.abn(self.conv(x, f"{name}.conv"), f"{name}.bn")

    def separable(
        self, x: torch.Tensor, name: str, dilation: Tuple[int, int] = (1, 1)
    ) -> torch.Tensor:
        weight = self.state[f"{name}.depthwise_conv.conv.weight"]
        x = F.conv2d(x, weight, padding=dilation, dilation=dilation, groups=x.shape[1])
        return self.module(self.abn(x, f"{name}.depthwise_conv.bn"), f"{name}.pointwise_conv")

    def neck(self, c4: Any, c8: Any, c16: Any, c32: Any) -> List[torch.Tensor]:
        def up(x: torch.Tensor) -> torch.Tensor:
            return F.interpolate(x, scale_factor=2, mode="nearest")

        t4, t8, t16, t32 = (
            self.module(c, f"neck.lateral_convs_top.{i}") for i, c in enumerate((c4, c8, c16, c32))
        )
        b32, b16, b8, b4 = (
            self.module(c, f"neck.lateral_convs_bottom.{i}")
            for i, c in enumerate((c32, c16, c8, c4))
        )
        t16 = t16 + up(t32)
        t8 = t8 + up(t16)
        t4 = t4 + up(t8)
        b8 = b8 + b4[..., ::2, ::2]
        b16 = b16 + b8[..., ::2, ::2]
        b32 = b32 + b16[..., ::2, ::2]
        outputs = []
        for i, x in enumerate((t4 + b4, t8 + b8, t16 + b16, t32 + b32)):
            name = f"neck.fpn_convs.{i}"
            full = f"{name}.conv.weight" in self.state
            outputs.append(self.module(x, name) if full else self.separable(x, name))
        return outputs

    def semantic_head(self, p4: Any, p8: Any, p16: Any, p32: Any) -> torch.Tensor:
        def dpc(x: torch.Tensor, name: str) -> torch.Tensor:
            a = self.separable(x, f"{name}.convs.0", DILATIONS[0])
            b = self.separable(a, f"{name}.convs.1", DILATIONS[1])
            c = self.separable(a, f"{name}.convs.2", DILATIONS[2])
            d = self.separable(a, f"{name}.convs.3", DILATIONS[3])
            e = self.separable(d, f"{name}.convs.4", DILATIONS[4])
            return self.module(torch.cat([a, b, c, d, e], 1), f"{name}.conv")

        def twice(x: torch.Tensor, name: str) -> torch.Tensor:
            return self.separable(self.separable(x, f"{name}.convs.0"), f"{name}.convs.1")

        def double(x: torch.Tensor) -> torch.Tensor:
            return bilinear(x, (2 * x.shape[2], 2 * x.shape[3]))

        d32 = dpc(p32, "semantic_head.lateral_convs_ss.0")
        d16 = dpc(p16, "semantic_head.lateral_convs_ss.1")
        m8 = double(twice(d16 + bilinear(d32, d16.shape[2:]), "semantic_head.aligning_convs.0"))
        l8 = twice(p8, "semantic_head.lateral_convs_ls.0") + m8
        m4 = double(twice(l8, "semantic_head.aligning_convs.1"))
        l4 = twice(p4, "semantic_head.lateral_convs_ls.1") + m4
        stack = [l4, *(bilinear(x, l4.shape[2:]) for x in (l8, d16, d32))]
        name = "semantic_head.conv_logits"
        return F.conv2d(
            torch.cat(stack, 1), self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        )


def converted_network(network: str, separable: bool, state: State) -> nn.ModuleDict:
    shapes = {n: ShapeSpec(channels=256, stride=s) for n, s in zip(LEVELS, (4, 8, 16, 32))}
    neck = TwoWayFPN(
        bottom_up=EfficientNet(name=f"tf_efficientnet_{network}"),
        in_features=["res2", "res3", "res4", "res5"],
        separable=separable,
    )
    head = EfficientPSSemanticHead(input_shape=shapes, in_features=LEVELS, num_classes=19)
    model = nn.ModuleDict({"backbone": neck, "sem_seg_head": head}).double().eval()
    model.load_state_dict(convert_checkpoint(state)[0])
    return model


@pytest.mark.parametrize(
    "network, separable, size",
    [
        ("b0", False, (96, 128)),
        ("b0", True, (64, 96)),
        pytest.param("b5", False, (64, 96), marks=pytest.mark.slow),
    ],
)
@torch.no_grad()
def test_forward_equals_the_published_computation(
    efficientps_state: Callable, network: str, separable: bool, size: Tuple[int, int]
) -> None:
    foreign = efficientps_state(network, separable=separable, mask_rcnn=False)
    assert (foreign["backbone.blocks.3.0.bn2.weight"] < 0).any()
    model = converted_network(network, separable, foreign)
    published = Published(foreign)
    torch.manual_seed(0)
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    features = model["backbone"].bottom_up(image)
    expected = published.backbone(image)
    for ours, theirs in zip(features.values(), expected):
        torch.testing.assert_close(ours, theirs)
    levels = published.neck(*expected)
    pyramid = model["backbone"](image)
    for name, theirs in zip(LEVELS, levels):
        torch.testing.assert_close(pyramid[name], theirs)
    logits = published.semantic_head(*levels)
    torch.testing.assert_close(model["sem_seg_head"](pyramid), logits)
    assert logits.std() > 0.1

    # The same in fp32, backbone and head each from exact inputs, relative to the size of the outputs.
    model.float()
    for ours, theirs in zip(model["backbone"](image.float()).values(), levels):
        assert float((ours - theirs).abs().max()) < 1e-5 * float(theirs.abs().max())
    ours = model["sem_seg_head"]({name: x.float() for name, x in pyramid.items()})
    assert float((ours - logits).abs().max()) < 1e-5 * float(logits.abs().max())


@torch.no_grad()
def test_what_the_conversion_mends_matters(efficientps_state: Callable) -> None:
    """The comparison above notices weights that are copied as they are, and a wrong eps."""
    foreign = efficientps_state("b0", mask_rcnn=False)
    image = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    model = converted_network("b0", False, foreign)
    before = model["sem_seg_head"](model["backbone"](image))
    scale = float(before.abs().max())
    for delta in (-9.9e-4, 1e-5):  # the eps of the other norms; none or twice theirs
        changed = dict(foreign)
        key = "backbone.blocks.2.0.bn1.weight" if delta < 0 else "neck.fpn_convs.0.bn.weight"
        changed[key] = foreign[key] + delta * foreign[key].sign()
        other = converted_network("b0", False, changed)
        after = other["sem_seg_head"](other["backbone"](image))
        assert float((after - before).abs().max()) > 1e-6 * scale
    copied = {
        k: foreign[f"backbone.{k[len('backbone.bottom_up.') :]}"]
        for k in model.state_dict()
        if k.startswith("backbone.bottom_up.") and ".bn" in k and k.endswith("weight")
    }
    model.load_state_dict(copied, strict=False)
    after = model["sem_seg_head"](model["backbone"](image))
    assert float((after - before).abs().max()) > 0.1 * scale
