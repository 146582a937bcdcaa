"""Gradients of depthwise convolutions and group norm against torch's own."""

from typing import List, Tuple
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from packaging.version import Version
from torch import nn

from effps_solo.cli.env import TORCH_PAIR
from effps_solo.modeling import cpu_gradients
from effps_solo.modeling.cpu_gradients import (
    _Convolution,
    _GroupNorm,
    _input_gradient,
    _weight_gradient,
    depthwise_conv2d,
    group_norm,
)

FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(autouse=True)
def measured_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The detours are taken and right with any torch, if only worth it with some."""
    monkeypatch.setattr(cpu_gradients, "_TORCH", (2, 14))


def leaf(
    *shape: int, dtype: torch.dtype = torch.float64, seed: int = 0, **options: object
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, dtype=torch.float64, generator=generator)
    return values.to(dtype=dtype, **options).requires_grad_()


def gradients(out: torch.Tensor, *of: torch.Tensor) -> Tuple[torch.Tensor, ...]:
    return torch.autograd.grad(out, of, leaf(*out.shape, dtype=out.dtype, seed=1).detach())


def test_weight_gradient_by_hand() -> None:
    """A kernel as large as the image meets each pixel once: its gradient is the image."""
    x = torch.arange(25.0).view(1, 1, 5, 5)
    weight = torch.zeros(1, 1, 5, 5, requires_grad=True)
    depthwise_conv2d(x, weight, (1, 1), (0, 0)).sum().backward()
    assert torch.equal(weight.grad, x)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("padding", [(0, 0), (2, 1)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (3, 3), (5, 5), (7, 7), (3, 5)])
def test_depthwise_convolution(
    kernel: Tuple[int, int],
    stride: Tuple[int, int],
    padding: Tuple[int, int],
    memory_format: torch.memory_format,
) -> None:
    x, weight = leaf(2, 6, 13, 16, memory_format=memory_format), leaf(6, 1, *kernel)
    expected = F.conv2d(x, weight, None, stride, padding, groups=6)
    found = depthwise_conv2d(x, weight, stride, padding)
    assert torch.equal(found, expected)
    torch.testing.assert_close(gradients(found, x, weight), gradients(expected, x, weight))


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_depthwise_convolution_in_bf16(
    kernel: int, stride: Tuple[int, int], onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without oneDNN, as for processors with AVX2 alone: torch's own gradients sum in bf16 there."""
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", onednn)
    x = leaf(2, 32, 17, 19, dtype=torch.bfloat16, memory_format=torch.channels_last)
    weight = leaf(32, 1, kernel, kernel, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = depthwise_conv2d(x, weight, stride, (1, 1))
    assert out.dtype == torch.bfloat16
    exact_x, exact_weight = (
        t.detach().to(torch.bfloat16).double().requires_grad_() for t in (x, weight)
    )
    exact = F.conv2d(exact_x, exact_weight, None, stride, (1, 1), groups=32)
    grad = leaf(*out.shape, dtype=torch.bfloat16, seed=1).detach()
    expected = torch.autograd.grad(exact, (exact_x, exact_weight), grad.double())
    for found, value in zip(torch.autograd.grad(out, (x, weight), grad), expected):
        error = (found.double() - value).abs().max() / value.abs().max()
        assert error < 2**-7, "more than bf16's own rounding"


@pytest.mark.parametrize("stride", [(1, 1), (2, 1)])
@pytest.mark.parametrize(
    "dilation, padding",
    [
        ((2, 3), (2, 3)),
        ((6, 21), (6, 21)),
        ((18, 15), (18, 15)),
        ((2, 3), (0, 1)),
        ((2, 3), (5, 2)),  # the first row of the output meets no input
    ],
)
def test_dilated_kernels(
    dilation: Tuple[int, int], padding: Tuple[int, int], stride: Tuple[int, int]
) -> None:
    """Also where the kernel reaches beyond the image."""
    x, weight = leaf(2, 6, 12, 24, memory_format=torch.channels_last), leaf(6, 1, 3, 3)
    expected = F.conv2d(x, weight, None, stride, padding, dilation, groups=6)
    found = depthwise_conv2d(x, weight, stride, padding, dilation)
    assert torch.equal(found, expected)
    exact = gradients(expected, x, weight)
    torch.testing.assert_close(gradients(found, x, weight), exact)
    low = [t.detach().to(torch.bfloat16).requires_grad_() for t in (x, weight)]
    found = depthwise_conv2d(*low, stride, padding, dilation)
    for value, reference in zip(gradients(found, *low), exact):
        assert value.dtype == torch.bfloat16
        assert (value.double() - reference).abs().max() < 0.03 * reference.abs().max()


def test_gradients_of_dilated_kernels_are_the_same_every_time() -> None:
    """torch's in bf16 with two threads are not, and NaN at times."""
    x = leaf(2, 64, 12, 24, dtype=torch.bfloat16, memory_format=torch.channels_last)
    weight = leaf(64, 1, 3, 3, dtype=torch.bfloat16)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        out = [depthwise_conv2d(x, weight, (1, 1), (18, 15), (18, 15)) for _ in range(20)]
        found = [gradients(each, x, weight) for each in out]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for each in found for a, b in zip(each, found[0]))


def test_depthwise_convolution_of_no_image() -> None:
    x, weight = leaf(0, 4, 8, 8), leaf(4, 1, 5, 5)
    depthwise_conv2d(x, weight, (1, 1), (2, 2)).sum().backward()
    assert x.grad.shape == x.shape and not weight.grad.any()


@pytest.mark.parametrize("wanted", [(True, False), (False, True), (False, False)])
def test_only_wanted_gradients(wanted: Tuple[bool, bool]) -> None:
    operands = [
        tensor.detach().requires_grad_(is_wanted)
        for tensor, is_wanted in zip((leaf(1, 4, 8, 8), leaf(4, 1, 5, 5)), wanted)
    ]
    found = depthwise_conv2d(*operands, (2, 2), (2, 2))
    assert found.requires_grad == any(wanted)
    if not any(wanted):
        return
    tensor = operands[wanted.index(True)]
    expected = F.conv2d(*operands, None, (2, 2), (2, 2), groups=4)
    with mock.patch.object(cpu_gradients, "_input_gradient", wraps=_input_gradient) as of_input:
        with mock.patch.object(
            cpu_gradients, "_weight_gradient", wraps=_weight_gradient
        ) as of_weight:
            torch.testing.assert_close(gradients(found, tensor), gradients(expected, tensor))
    assert (of_input.called, of_weight.called) == wanted


def test_autocast_leaves_float64_alone() -> None:
    x, weight = leaf(1, 4, 8, 8), leaf(4, 1, 5, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert depthwise_conv2d(x, weight, (1, 1), (2, 2)).dtype == torch.float64


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(
    "shape, num_groups", [((2, 6, 4, 5), 3), ((3, 4, 2, 2), 4), ((1, 8, 7, 1), 1)]
)
def test_group_norm(
    shape: Tuple[int, ...], num_groups: int, memory_format: torch.memory_format
) -> None:
    x = leaf(*shape, memory_format=memory_format)
    weight, bias = leaf(shape[1]), leaf(shape[1])
    expected = F.group_norm(x, num_groups, weight, bias, 1e-5)
    found = _GroupNorm.apply(x, num_groups, weight, bias, 1e-5)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        gradients(found, x, weight, bias), gradients(expected, x, weight, bias)
    )


@pytest.mark.parametrize("size", [1, 40])
def test_group_norm_by_hand(size: int) -> None:
    """Two groups of two channels, 1 and 3, 5 and 5: normal is -1, 1, 0, 0."""
    x = torch.tensor([1.0, 3.0, 5.0, 5.0]).view(1, 4, 1, 1).expand(1, 4, size, size)
    weight, bias = torch.tensor([2.0, 2.0, 2.0, 2.0]), torch.tensor([0.0, 0.0, 0.5, 1.0])
    found = group_norm(x.to(torch.bfloat16), 2, weight, bias, 0.0001)
    assert found.dtype == torch.bfloat16
    expected = torch.tensor([-2, 2, 0.5, 1]).view(1, 4, 1, 1)
    assert torch.equal(found.float(), expected.expand(1, 4, size, size))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_group_norm_of_no_image(dtype: torch.dtype) -> None:
    x = leaf(0, 4, 3, 3, dtype=dtype)
    weight, bias = leaf(4, dtype=torch.float32), leaf(4, dtype=torch.float32)
    out = group_norm(x, 2, weight, bias, 1e-5)
    out.sum().backward()
    assert out.shape == x.shape and out.dtype == dtype
    assert not weight.grad.any() and not bias.grad.any()


@pytest.mark.parametrize(
    "shape", [(2, 32, 9, 11), (3, 32, 40, 40), (1, 32, 1, 1300), (1, 32, 1300)]
)
@pytest.mark.parametrize("mean", [0.0, 10.0, 100.0])
@pytest.mark.parametrize("grad_mean", [0.0, 10.0])
@pytest.mark.parametrize("num_groups", [1, 8, 32])
def test_group_norm_in_bf16(
    num_groups: int, grad_mean: float, mean: float, shape: Tuple[int, ...]
) -> None:
    x = (leaf(*shape).detach() + mean).to(torch.bfloat16)
    if x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    weight, bias = leaf(32, dtype=torch.float32), leaf(32, dtype=torch.float32)
    out = group_norm(x.requires_grad_(), num_groups, weight, bias, 1e-5)
    assert out.dtype == torch.bfloat16 and out.stride() == x.stride()
    grad = (leaf(*shape, seed=1).detach() + grad_mean).to(torch.bfloat16)
    found = torch.autograd.grad(out, (x, weight, bias), grad)
    exact = [t.detach().double().requires_grad_() for t in (x, weight, bias)]
    exact_out = F.group_norm(exact[0], num_groups, *exact[1:], 1e-5)
    expected = torch.autograd.grad(exact_out, exact, grad.double())
    for value, reference, tensor in zip(
        (out, *found), (exact_out, *expected), (x, x, weight, bias)
    ):
        assert value.dtype == tensor.dtype
        error = (value.double() - reference).abs().max() / reference.abs().max()
        assert error < 2**-7, "more than bf16's own rounding"
    with torch.no_grad():
        assert torch.equal(group_norm(x, num_groups, weight, bias, 1e-5), out)


@pytest.mark.parametrize("grad_format", FORMATS)
@pytest.mark.parametrize("memory_format", FORMATS)
def test_formats_of_group_norm(
    memory_format: torch.memory_format, grad_format: torch.memory_format
) -> None:
    x = leaf(2, 6, 4, 5, memory_format=memory_format)
    weight, bias = leaf(6), leaf(6)
    grad = leaf(2, 6, 4, 5, memory_format=grad_format, seed=1).detach()
    found, expected = (
        torch.autograd.grad(out, (x, weight, bias), grad)
        for out in (
            _GroupNorm.apply(x, 3, weight, bias, 1e-5),
            F.group_norm(x, 3, weight, bias, 1e-5),
        )
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "version, is_known",
    [("2.12.1", False), ("2.13.0+cpu", True), ("2.14.9", True), ("2.15.0", False), ("3.0", False)],
)
def test_versions_of_torch_that_nobody_measured_get_its_own_gradients(
    version: str, is_known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_gradients, "_TORCH", Version(version).release[:2])
    own: List[int] = []  # operands whose gradient was left to torch
    gradient = _Convolution.gradient

    def spied(conv: _Convolution, grad: torch.Tensor, operand: int) -> torch.Tensor:
        if conv.weight.shape == weight.shape:
            own.append(operand)
        return gradient(conv, grad, operand)

    monkeypatch.setattr(_Convolution, "gradient", spied)
    x = leaf(1, 32, 40, 40, dtype=torch.bfloat16, memory_format=torch.channels_last)
    weight = leaf(32, 1, 5, 5, dtype=torch.bfloat16)
    for stride in [(1, 1), (2, 2)]:
        out = depthwise_conv2d(x, weight, stride, (2, 2))
        expected = gradients(F.conv2d(x, weight, None, stride, (2, 2), groups=32), x, weight)
        found = gradients(out, x, weight)
        if not is_known:
            assert all(torch.equal(a, b) for a, b in zip(found, expected))
    assert own == ([] if is_known else [0, 1, 0, 1])
    scale = leaf(32, dtype=torch.float32)
    names = [type(group_norm(x, 8, scale, scale, 1e-5).grad_fn).__name__]
    assert names == ["_GroupNormBackward" if is_known else "NativeGroupNormBackward0"]


def test_the_pinned_torch_is_one_that_was_measured() -> None:
    pinned = Version(TORCH_PAIR.split()[0].split("==")[1]).release[:2]
    assert all(first <= pinned <= last for first, last in cpu_gradients._MEASURED.values())


def test_graphs_hold_operations_of_torch() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(4, 1, 5, 5))
            self.scale = nn.Parameter(torch.ones(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = depthwise_conv2d(x, self.kernel, (1, 1), (2, 2))
            return group_norm(y.to(torch.bfloat16), 2, self.scale, self.scale, 1e-5)

    x = torch.ones(1, 4, 40, 40)
    kinds = {node.kind() for node in torch.jit.trace(Both(), x).graph.nodes()}
    assert {"aten::_convolution", "aten::group_norm"} <= kinds
    nodes = [str(node.target) for node in torch.export.export(Both(), (x,)).graph.nodes]
    assert [n for n in nodes if "norm" in n] == ["aten.group_norm.default"]
    assert [n for n in nodes if "conv" in n] == ["aten.conv2d.default"]
