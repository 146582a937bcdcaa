"""The norms of timm's networks by Detectron2's names, with their activations."""

from typing import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from effps_solo.modeling.backbone import EfficientNet
from effps_solo.modeling.backbone.norms import replace_norms
from effps_solo.modeling.layers import GroupNorm, SyncBatchNorm

FEATURES = ["res2", "res3", "res4", "res5"]


def _norms(net: nn.Module) -> list:
    return [m for m in net.modules() if hasattr(m, "act") and hasattr(m, "eps")]


@pytest.mark.parametrize("norm", ["SyncBN", "naiveSyncBN", "nnSyncBN", "FrozenBN"])
def test_batch_norms_of_every_name_agree(norm: str, randomise: Callable[[nn.Module], None]) -> None:
    reference = EfficientNet(name="tf_efficientnet_lite0", norm="BN").double().eval()
    randomise(reference)
    other = EfficientNet(name="tf_efficientnet_lite0", norm=norm).double().eval()
    loaded = other.load_state_dict(reference.state_dict(), strict=False)
    assert not loaded.missing_keys
    assert all(key.endswith("num_batches_tracked") for key in loaded.unexpected_keys)
    image = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        expected, actual = reference(image), other(image)
    for feature in FEATURES:
        torch.testing.assert_close(actual[feature], expected[feature])


@pytest.mark.parametrize("norm", ["BN", "SyncBN", "naiveSyncBN", "nnSyncBN", "FrozenBN", "GN"])
def test_norms_keep_eps_and_activation(norm: str) -> None:
    net = EfficientNet(name="tf_efficientnet_lite0", norm=norm, conv_head=True)
    norms = _norms(net)
    # Stem, 1 + 15 blocks with 2 and 3 norms, conv_head.
    assert len(norms) == 1 + 2 + 3 * 15 + 1
    assert all(layer.eps == 1e-3 for layer in norms)
    linear = [layer for layer in norms if isinstance(layer.act, nn.Identity)]
    leaky = [layer for layer in norms if isinstance(layer.act, nn.LeakyReLU)]
    assert (len(linear), len(leaky)) == (15, 34)
    assert all(layer.act.negative_slope == 0.01 for layer in leaky)


@pytest.mark.parametrize("norm", ["BN", "SyncBN", "naiveSyncBN", "FrozenBN", "GN"])
def test_every_norm_runs_in_training(norm: str) -> None:
    if norm == "SyncBN" and torch.cuda.is_available():
        pytest.skip("torch's SyncBN needs its input on the GPU")
    net = EfficientNet(name="tf_efficientnet_lite0", norm=norm).train()
    outputs = net(torch.randn(2, 3, 64, 64))
    sum(x.mean() for x in outputs.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_sync_bn_is_that_of_neck_and_heads() -> None:
    net = EfficientNet(name="tf_efficientnet_lite0", norm="naiveSyncBN")
    assert all(isinstance(layer, SyncBatchNorm) for layer in _norms(net))


def test_group_norm_has_groups_of_eight_channels() -> None:
    norms = _norms(EfficientNet(name="tf_efficientnet_lite0", norm="GN"))
    assert all(isinstance(layer, GroupNorm) for layer in norms)
    assert all(8 * layer.num_groups == layer.num_channels for layer in norms)
    x = torch.randn(2, norms[0].num_channels, 3, 5)
    normal = F.group_norm(x, x.shape[1] // 8, eps=1e-3)
    torch.testing.assert_close(norms[0](x), F.leaky_relu(normal, 0.01))


def test_frozen_bn_has_no_norm_parameters() -> None:
    net = EfficientNet(name="tf_efficientnet_lite0", norm="FrozenBN")
    assert all(p.dim() == 4 for p in net.parameters())
    before = {k: v.clone() for k, v in net.state_dict().items() if "running" in k}
    net.train()(torch.randn(2, 3, 64, 64))
    assert before and all(torch.equal(net.state_dict()[k], v) for k, v in before.items())


def test_a_network_without_norms_stays_as_it_is() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8))
    before = list(network)
    replace_norms(network, "GN", frozen=("0.",))
    assert list(network) == before
