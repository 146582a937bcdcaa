"""The EfficientNet backbone against a plain re-statement, its layout and its norms."""

from typing import Callable, Dict

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from torch import nn

from effps_solo import add_effps_solo_config
from effps_solo.modeling.backbone import EfficientNet

FEATURES = ["res2", "res3", "res4", "res5"]
STAGE_STRIDES = (1, 2, 2, 2, 1, 2, 1)


def _num_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    "name, conv_head, channels",
    [
        ("tf_efficientnet_b0", True, [24, 40, 112, 1280]),
        ("tf_efficientnet_b0", False, [24, 40, 112, 320]),
        ("tf_efficientnet_b5", True, [40, 64, 176, 2048]),
        ("tf_efficientnet_b5", False, [40, 64, 176, 512]),
        ("tf_efficientnet_lite0", True, [24, 40, 112, 1280]),
        ("tf_efficientnet_lite0", False, [24, 40, 112, 320]),
    ],
)
def test_channels_and_strides(name: str, conv_head: bool, channels: list) -> None:
    net = EfficientNet(name=name, conv_head=conv_head).eval()
    shapes = net.output_shape()
    assert list(shapes) == FEATURES
    assert [shapes[f].channels for f in FEATURES] == channels
    assert [shapes[f].stride for f in FEATURES] == [4, 8, 16, 32]
    with torch.no_grad():
        outputs = net(torch.randn(1, 3, 64, 96))
    for feature, stride, width in zip(FEATURES, [4, 8, 16, 32], channels):
        assert outputs[feature].shape == (1, width, 64 // stride, 96 // stride)
    assert net.size_divisibility == 32


@pytest.mark.parametrize(
    "name, with_se, without_se",
    [
        ("tf_efficientnet_b0", 4_008_000, 3_371_000),
        ("tf_efficientnet_b5", 28_341_000, 23_148_912),
    ],
)
def test_parameter_counts(name: str, with_se: int, without_se: int) -> None:
    net = EfficientNet(name=name)
    assert _num_parameters(net) == pytest.approx(without_se, abs=0 if name.endswith("b5") else 500)
    assert not any("se." in key or "classifier" in key for key in net.state_dict())
    full = EfficientNet(name=name, squeeze_excite=True)
    assert _num_parameters(full) == pytest.approx(with_se, abs=500)
    assert any(".se." in key for key in full.state_dict())


def test_b5_has_the_keys_of_the_released_layout() -> None:
    state = EfficientNet(name="tf_efficientnet_b5").state_dict()
    assert state["conv_stem.weight"].shape == (48, 3, 3, 3)
    assert state["blocks.0.0.conv_dw.weight"].shape == (48, 1, 3, 3)
    assert state["blocks.0.0.conv_pw.weight"].shape == (24, 48, 1, 1)
    assert state["blocks.3.0.conv_pw.weight"].shape == (384, 64, 1, 1)
    assert state["blocks.5.8.conv_dw.weight"].shape == (6 * 304, 1, 5, 5)
    assert state["blocks.6.2.conv_pwl.weight"].shape == (512, 6 * 512, 1, 1)
    assert state["conv_head.weight"].shape == (2048, 512, 1, 1)
    assert state["bn2.weight"].shape == (2048,)
    blocks = {tuple(key.split(".")[1:3]) for key in state if key.startswith("blocks.")}
    repeats = [sum(stage == str(s) for stage, _ in blocks) for s in range(7)]
    assert repeats == [3, 5, 5, 7, 7, 9, 3]
    assert len(state) == 696  # spec of the released checkpoint, 5 keys per norm


def _same_conv(x: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
    """TensorFlow's SAME: ceil(n / stride) outputs, the odd pixel of padding at the end."""
    pads = []
    for length, kernel in ((x.shape[3], weight.shape[3]), (x.shape[2], weight.shape[2])):
        outputs = -(-length // stride)
        total = max((outputs - 1) * stride + kernel - length, 0)
        pads += [total // 2, total - total // 2]
    groups = x.shape[1] // weight.shape[1]
    return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)


class _Restatement:
    """EfficientNet without SE, written from the description, on a state dict."""

    def __init__(self, state: Dict[str, torch.Tensor], stage0_activation: bool) -> None:
        self.state = state
        self.stage0_activation = stage0_activation

    def norm(self, x: torch.Tensor, key: str, activate: bool) -> torch.Tensor:
        mean, var, weight, bias = (
            self.state[f"{key}.{part}"][None, :, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        x = (x - mean) / torch.sqrt(var + 1e-3) * weight + bias
        return torch.where(x > 0, x, 0.01 * x) if activate else x

    def block(self, x: torch.Tensor, key: str, stage: int, stride: int) -> torch.Tensor:
        shortcut = x
        if stage == 0:
            x = self.norm(
                _same_conv(x, self.state[f"{key}.conv_dw.weight"], stride), f"{key}.bn1", True
            )
            x = F.conv2d(x, self.state[f"{key}.conv_pw.weight"])
            x = self.norm(x, f"{key}.bn2", self.stage0_activation)
        else:
            x = self.norm(F.conv2d(x, self.state[f"{key}.conv_pw.weight"]), f"{key}.bn1", True)
            x = self.norm(
                _same_conv(x, self.state[f"{key}.conv_dw.weight"], stride), f"{key}.bn2", True
            )
            x = self.norm(F.conv2d(x, self.state[f"{key}.conv_pwl.weight"]), f"{key}.bn3", False)
        return x + shortcut if x.shape == shortcut.shape else x

    def __call__(self, x: torch.Tensor) -> Dict[str, torch.Tensor]:
        x = self.norm(_same_conv(x, self.state["conv_stem.weight"], 2), "bn1", True)
        outputs = {}
        for stage, stage_stride in enumerate(STAGE_STRIDES):
            position = 0
            while f"blocks.{stage}.{position}.conv_dw.weight" in self.state:
                stride = stage_stride if position == 0 else 1
                x = self.block(x, f"blocks.{stage}.{position}", stage, stride)
                position += 1
            outputs[stage] = x
        head = self.norm(F.conv2d(x, self.state["conv_head.weight"]), "bn2", True)
        return {"res2": outputs[1], "res3": outputs[2], "res4": outputs[4], "res5": head}


@pytest.mark.parametrize("stage0_activation", [True, False])
def test_forward_equals_a_plain_restatement(
    stage0_activation: bool, randomise: Callable[[nn.Module], None]
) -> None:
    # b1 has two blocks in stage 0, so that its residual is tested too.
    net = EfficientNet(name="tf_efficientnet_b1", stage0_activation=stage0_activation)
    net.double().eval()
    randomise(net)
    image = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        expected = _Restatement(net.state_dict(), stage0_activation)(image)
        actual = net(image)
    for feature in FEATURES:
        torch.testing.assert_close(actual[feature], expected[feature])


def test_lite_keeps_relu6_and_a_linear_stage_0() -> None:
    net = EfficientNet(
        name="tf_efficientnet_lite0", activation="relu6", stage0_activation=False, conv_head=False
    )
    assert not any(key.startswith(("conv_head", "bn2")) for key in net.state_dict())
    assert isinstance(net.bn1.act, nn.ReLU6)
    assert isinstance(net.blocks[0][0].bn1.act, nn.ReLU6)
    assert isinstance(net.blocks[0][0].bn2.act, nn.Identity)
    assert isinstance(net.blocks[3][1].bn2.act, nn.ReLU6)
    assert isinstance(net.blocks[3][1].bn3.act, nn.Identity)


FROZEN = {
    0: (),
    1: ("conv_stem.", "bn1."),
    2: ("conv_stem.", "bn1.", "blocks.0.", "blocks.1."),
    3: ("conv_stem.", "bn1.", "blocks.0.", "blocks.1.", "blocks.2."),
    4: ("conv_stem.", "bn1.", *(f"blocks.{stage}." for stage in range(5))),
    5: ("conv_stem.", "bn1.", "blocks.", "conv_head.", "bn2."),
}


@pytest.mark.parametrize(
    ("freeze_at", "norm"), [*((k, "BN") for k in FROZEN), (2, "GN"), (2, "naiveSyncBN")]
)
def test_a_step_leaves_frozen_stages_as_they_are(freeze_at: int, norm: str) -> None:
    torch.manual_seed(0)
    net = EfficientNet(name="tf_efficientnet_lite0", norm=norm, freeze_at=freeze_at)
    net.eval().train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    image = torch.randn(2, 3, 64, 64, requires_grad=True)  # a loss of its own, where all is frozen
    sum((x * x).mean() for x in net(image).values()).backward()
    trained = [p for p in net.parameters() if p.requires_grad]
    torch.optim.SGD([*trained, image], lr=1.0).step()
    frozen = FROZEN[freeze_at]
    for key, parameter in net.named_parameters():
        assert (parameter.grad is None) == key.startswith(frozen), key
    changed = {
        key for key, value in net.state_dict().items() if not torch.equal(value, before[key])
    }
    assert not [key for key in changed if key.startswith(frozen)]
    assert {
        key for key, p in net.named_parameters() if p.grad is not None and p.grad.any()
    } <= changed
    assert {key for key in before if "running" in key and not key.startswith(frozen)} <= changed


@pytest.mark.parametrize("norm", ["BN", "SyncBN", "naiveSyncBN", "nnSyncBN", "GN", "FrozenBN"])
def test_frozen_stages_compute_what_they_did(
    norm: str, randomise: Callable[[nn.Module], None]
) -> None:
    """The activations that timm builds into its norms, too."""
    arguments = {"name": "tf_efficientnet_lite0", "norm": norm}
    free, frozen = (EfficientNet(**arguments, freeze_at=n).double().eval() for n in (0, 3))
    randomise(free)
    loaded = frozen.load_state_dict(free.state_dict(), strict=False)
    assert not loaded.missing_keys and not loaded.unexpected_keys
    image = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        expected, actual = free(image), frozen(image)
        for feature in FEATURES:
            torch.testing.assert_close(actual[feature], expected[feature])
        if norm != "GN":  # the frozen part of a training step computes the same, too
            torch.testing.assert_close(frozen.train()(image)["res3"], expected["res3"])


def test_unused_features_are_not_returned() -> None:
    net = EfficientNet(name="tf_efficientnet_lite0", out_features=["res3", "res4"]).eval()
    assert not hasattr(net, "conv_head")
    assert list(net(torch.randn(1, 3, 32, 32))) == ["res3", "res4"]
    assert list(net.output_shape()) == ["res3", "res4"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"name": "tf_efficientnet_b9"}, "MODEL.EFFICIENTNET.NAME is 'tf_efficientnet_b9'"),
        ({"name": "resnet50"}, "'resnet50'.*tf_efficientnet_lite0"),
        ({"out_features": ["res2", "res6"]}, r"OUT_FEATURES names \['res6'\]"),
        ({"norm": "IN"}, "MODEL.EFFICIENTNET.NORM is 'IN'; choose one of BN, SyncBN"),
        ({"freeze_at": 6}, "MODEL.EFFICIENTNET.FREEZE_AT is 6; choose one of 0 .. 5"),
        ({"freeze_at": -1}, "MODEL.EFFICIENTNET.FREEZE_AT is -1"),
        ({"activation": "tanh"}, "'tanh'"),
    ],
)
def test_mistakes_name_the_key(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EfficientNet(**{"name": "tf_efficientnet_lite0", **arguments})


def test_from_config() -> None:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.MODEL.EFFICIENTNET.NAME = "tf_efficientnet_lite0"
    cfg.MODEL.EFFICIENTNET.CONV_HEAD = False
    cfg.MODEL.EFFICIENTNET.FREEZE_AT = 1
    net = EfficientNet(cfg, ShapeSpec(channels=4))
    assert net.conv_stem.in_channels == 4
    assert net.output_shape()["res5"].channels == 320
    trained = [p.requires_grad for p in (net.conv_stem.weight, net.blocks[0][0].conv_dw.weight)]
    assert trained == [False, True]
