"""Norms and activations by name, and the separable convolution."""

import pytest
import torch
from detectron2.layers.batch_norm import NaiveSyncBatchNorm
from torch import nn

from effps_solo.modeling import layers


@pytest.mark.parametrize(
    "name, expected",
    [
        ("leaky_relu", [-0.02, 0.0, 3.0, 8.0]),
        ("relu", [0.0, 0.0, 3.0, 8.0]),
        ("relu6", [0.0, 0.0, 3.0, 6.0]),
        ("swish", [-0.2384058, 0.0, 2.8577224, 7.9973172]),
    ],
)
def test_activations(name: str, expected: list) -> None:
    x = torch.tensor([-2.0, 0.0, 3.0, 8.0])
    torch.testing.assert_close(layers.get_activation(name)()(x), torch.tensor(expected))


@pytest.mark.parametrize("name, torchs", [("relu6", nn.ReLU6), ("swish", nn.SiLU)])
def test_activations_keep_no_copy_of_their_input(name: str, torchs: type) -> None:
    """torch's own do when they work in place and a gradient is wanted."""
    values = torch.tensor([-2.0, -1e-30, 0.0, 1e-30, 3.0, 6.0, 6.000001, 8.0])
    grad = torch.arange(1.0, len(values) + 1)
    x, expected_x = (values.clone().requires_grad_() for _ in range(2))
    before = x * 1  # as a norm's output; in-place operations refuse leaves
    kept = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = layers.get_activation(name)()(before)
    assert kept == [before.data_ptr()]
    expected = torchs()(expected_x)
    assert torch.equal(out, expected)
    out.backward(grad)
    expected.backward(grad)
    assert torch.equal(x.grad, expected_x.grad)


@pytest.mark.parametrize("name", ["relu6", "swish"])
def test_activations_work_in_place_at_inference(name: str) -> None:
    x = torch.randn(3, 4, requires_grad=True)
    with torch.no_grad():
        before = x * 5
        assert layers.get_activation(name)()(before).data_ptr() == before.data_ptr()


def test_relu6_of_nothing() -> None:
    x = torch.zeros(0, 8, 2, 2, requires_grad=True)
    layers.get_activation("relu6")()(x * 1).sum().backward()
    assert x.grad.shape == x.shape


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="'gelu'.*leaky_relu"):
        layers.get_activation("gelu")
    with pytest.raises(ValueError, match="'BatchNorm'.*'SyncBN'"):
        layers.make_norm("BatchNorm", 8)


@pytest.mark.parametrize("norm", ["BN", "SyncBN", "naiveSyncBN", "GN", "FrozenBN"])
def test_norms(norm: str) -> None:
    layer = layers.make_norm(norm, 32)
    assert layer.eps == 1e-5
    x = torch.randn(2, 32, 4, 6)
    assert layer.eval()(x).shape == x.shape


@pytest.mark.parametrize("training", [True, False])
def test_group_norm_of_one_value(training: bool) -> None:
    """An image of 32 pixels has one point on the coarsest level; torch's own layer raises there."""
    layer = layers.make_norm("GN", 32).train(training)
    nn.init.normal_(layer.bias)
    with pytest.raises(ValueError, match="more than 1 value"):
        nn.GroupNorm(32, 32)(torch.ones(1, 32, 1, 1))
    x = torch.randn(1, 32, 1, 1, requires_grad=True)
    out = layer(x)
    torch.testing.assert_close(out[0, :, 0, 0], layer.bias, rtol=0, atol=1e-3)
    out.sum().backward()
    assert all(t.grad.isfinite().all() for t in (x, layer.weight, layer.bias))
    y = torch.randn(3, 64, 4, 5)
    assert torch.equal(layers.make_norm("GN", 64)(y), nn.GroupNorm(32, 64)(y))


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch's SyncBN is used on a GPU")
def test_sync_bn_trains_on_a_cpu() -> None:
    layer = layers.make_norm("SyncBN", 8)
    assert isinstance(layer, NaiveSyncBatchNorm)
    out = layer.train()(3 + 5 * torch.randn(4, 8, 6, 6))
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(8), atol=1e-4, rtol=0)


def _depthwise_loop(x: torch.Tensor, weight: torch.Tensor, dilation: tuple) -> torch.Tensor:
    """Depthwise 3x3 with zero padding, tap by tap."""
    n, c, h, w = x.shape
    padded = torch.zeros(n, c, h + 2 * dilation[0], w + 2 * dilation[1])
    padded[:, :, dilation[0] : dilation[0] + h, dilation[1] : dilation[1] + w] = x
    out = torch.zeros_like(x)
    for i in range(3):
        for j in range(3):
            top, left = i * dilation[0], j * dilation[1]
            patch = padded[:, :, top : top + h, left : left + w]
            out += weight[:, 0, i, j][None, :, None, None] * patch
    return out


def _batch_norm(x: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    def column(v: torch.Tensor) -> torch.Tensor:
        return v[None, :, None, None]

    x_hat = (x - column(norm.running_mean)) / (column(norm.running_var) + norm.eps).sqrt()
    return x_hat * column(norm.weight) + column(norm.bias)


@pytest.mark.parametrize("dilation", [(1, 1), (2, 1), (3, 5)])
def test_separable_conv(dilation: tuple) -> None:
    torch.manual_seed(0)
    conv = layers.separable_conv(4, 6, norm="BN", activation="leaky_relu", dilation=dilation)
    for module in conv.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    conv.eval()
    assert conv.depthwise.bias is None and conv.pointwise.bias is None
    x = torch.randn(2, 4, 7, 9)

    def leaky(v: torch.Tensor) -> torch.Tensor:
        return torch.where(v > 0, v, 0.01 * v)

    expected = _depthwise_loop(x, conv.depthwise.weight, dilation)
    expected = leaky(_batch_norm(expected, conv.depthwise.norm))
    expected = torch.einsum("nchw,oc->nohw", expected, conv.pointwise.weight[:, :, 0, 0])
    expected = leaky(_batch_norm(expected, conv.pointwise.norm))
    torch.testing.assert_close(conv(x), expected)


def test_sync_bn_of_bf16_has_the_statistics_of_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes with the same values, far from 0: in bf16 E[x^2] - E[x]^2 would be noise."""
    module = "detectron2.layers.batch_norm"
    monkeypatch.setattr(f"{module}.comm.get_world_size", lambda: 2)
    monkeypatch.setattr(f"{module}.dist.get_world_size", lambda: 2)
    monkeypatch.setattr(f"{module}.differentiable_all_reduce", lambda x: 2 * x)
    torch.manual_seed(0)
    x = (50 + torch.randn(2, 8, 16, 16)).bfloat16()
    layer = layers.make_norm("naiveSyncBN", 8).train()
    out = layer(x)
    expected = nn.BatchNorm2d(8).train()(x.float())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=0.01, atol=0.01)
    torch.testing.assert_close(layer.running_mean, x.float().mean((0, 2, 3)) * 0.1)


def test_sync_bn_counts_every_image_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """One image here, three in the other process: the statistics are those of the four."""
    torch.manual_seed(0)
    mine, others = torch.randn(1, 8, 4, 4), 3 + 2 * torch.randn(3, 8, 4, 4)
    means = [others.mean((0, 2, 3)), (others * others).mean((0, 2, 3)), torch.ones(1)]
    module = "detectron2.layers.batch_norm"
    monkeypatch.setattr(f"{module}.comm.get_world_size", lambda: 2)
    monkeypatch.setattr(f"{module}.dist.get_world_size", lambda: 2)
    monkeypatch.setattr(
        f"{module}.differentiable_all_reduce", lambda vector: vector + 3 * torch.cat(means)
    )
    layer, expected = layers.make_norm("naiveSyncBN", 8).train(), nn.BatchNorm2d(8).train()
    torch.testing.assert_close(layer(mine), expected(torch.cat([mine, others]))[:1])
    torch.testing.assert_close(layer.running_mean, expected.running_mean)


def test_sync_bn_has_one_name_and_one_implementation_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_gpu, expected in ((False, "naiveSyncBN"), (True, "nnSyncBN")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda answer=has_gpu: answer)
        assert layers.resolve_norm("SyncBN") == expected
        assert type(layers.make_norm("SyncBN", 8)) is type(layers.make_norm(expected, 8))
    with pytest.raises(ValueError, match="unknown norm 'naiveSyncBN_N'"):
        layers.make_norm("naiveSyncBN_N", 8)
