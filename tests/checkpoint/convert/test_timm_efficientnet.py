"""timm's EfficientNets: names, squeeze-and-excitation, which network it is."""

from typing import Callable

import pytest
import timm
import torch
from torch import nn

from effps_solo.checkpoint.convert import convert_checkpoint, fit_to_model
from effps_solo.checkpoint.convert.timm_efficientnet import efficientnet_name
from effps_solo.modeling.backbone import EfficientNet

BACKBONE = "backbone.bottom_up."


def own_names(model: nn.Module) -> dict:
    return {f"{BACKBONE}{key}": value for key, value in model.state_dict().items()}


def test_without_squeeze_and_excitation(timm_state: Callable) -> None:
    foreign = timm_state("b0")
    state, report = convert_checkpoint(foreign)
    assert set(state) == set(own_names(EfficientNet(name="tf_efficientnet_b0")))
    assert not report.unmatched
    dropped = {key for key in foreign if ".se." in key or key.startswith("classifier.")}
    assert set(report.left_out) == dropped and len(dropped) == 4 * 16 + 2
    assert torch.equal(state[f"{BACKBONE}bn1.weight"], foreign["bn1.weight"])  # plain norms
    assert report.settings["MODEL.EFFICIENTNET.NAME"] == "tf_efficientnet_b0"
    assert "MODEL.PIXEL_MEAN" not in report.settings
    assert any("start for training" in note for note in report.notes)


def test_with_squeeze_and_excitation(timm_state: Callable) -> None:
    state, report = convert_checkpoint(timm_state("b0"), squeeze_excite=True)
    network = EfficientNet(name="tf_efficientnet_b0", squeeze_excite=True)
    assert set(state) == set(own_names(network))
    assert set(report.left_out) == {"classifier.weight", "classifier.bias"}
    assert report.settings["MODEL.EFFICIENTNET.SQUEEZE_EXCITE"] is True


@pytest.mark.parametrize(
    "name, squeeze_excite, activation",
    [("tf_efficientnet_lite0", False, "relu6"), ("tf_efficientnet_b0", True, "swish")],
)
@torch.no_grad()
def test_it_computes_the_same_as_timms(name: str, squeeze_excite: bool, activation: str) -> None:
    torch.manual_seed(0)
    reference = timm.create_model(name, pretrained=False).double().eval()
    state, report = convert_checkpoint(reference.state_dict(), squeeze_excite=squeeze_excite)
    settings = report.settings
    assert settings["MODEL.EFFICIENTNET.ACTIVATION"] == activation
    assert settings.get("MODEL.EFFICIENTNET.SQUEEZE_EXCITE", False) is squeeze_excite
    assert settings.get("MODEL.PIXEL_MEAN") == (None if squeeze_excite else [127.5] * 3)
    backbone = EfficientNet(
        squeeze_excite=squeeze_excite,
        name=settings["MODEL.EFFICIENTNET.NAME"],
        activation=settings["MODEL.EFFICIENTNET.ACTIVATION"],
        stage0_activation=settings["MODEL.EFFICIENTNET.STAGE0_ACTIVATION"],
    )
    backbone.double().eval().load_state_dict({k[len(BACKBONE) :]: v for k, v in state.items()})
    image = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    torch.testing.assert_close(backbone(image)["res5"], reference.forward_features(image))


def test_conv_head_is_left_out_where_there_is_none(timm_state: Callable) -> None:
    converted, report = convert_checkpoint(timm_state("b0"))
    own = own_names(EfficientNet(name="tf_efficientnet_b0", conv_head=False))
    assert set(fit_to_model(converted, report, own)) == set(own)
    assert report.left_out["conv_head.weight"] == "the config's model has no such weight"
    assert not report.missing


@pytest.mark.parametrize("end", [*(f"b{i}" for i in range(8)), *(f"lite{i}" for i in range(5))])
def test_every_network_is_recognised(end: str) -> None:
    name = f"tf_efficientnet_{end}"
    with torch.device("meta"):
        state = timm.create_model(name, pretrained=False).state_dict()
    assert efficientnet_name(state, lite=not any(".se." in key for key in state)) == name


def test_other_networks_are_not() -> None:
    assert efficientnet_name({"conv_stem.weight": torch.ones(1)}) is None
    odd = {"blocks.0.0.conv_pwl.weight": torch.ones(7, 1, 1, 1)}
    assert efficientnet_name({"blocks.0.0.conv_dw.weight": torch.ones(1)}) is None
    assert efficientnet_name(odd) is None
