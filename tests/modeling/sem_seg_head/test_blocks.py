"""LSFE, DPC and MC against plain re-statements of section 3.3 of the paper."""

from typing import Callable, Tuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from effps_solo.modeling.sem_seg_head.blocks import (
    DensePredictionCell,
    LargeScaleFeatureExtractor,
    MismatchCorrection,
)

STYLE = {"norm": "BN", "activation": "leaky_relu"}


def _prepared(module: nn.Module) -> nn.Module:
    """In eval mode with random statistics, in float64."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.3)
            layer.running_var.uniform_(0.5, 2)
            nn.init.normal_(layer.weight)
            nn.init.normal_(layer.bias)
    return module.double().eval()


def _norm_leaky(x: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    x = (x - norm.running_mean[:, None, None]) / torch.sqrt(norm.running_var + 1e-5)[:, None, None]
    x = x * norm.weight[:, None, None] + norm.bias[:, None, None]
    return torch.maximum(x, 0.01 * x)


def _conv1x1(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return torch.einsum("nchw,oc->nohw", x, weight[:, :, 0, 0])


def _sep_conv(x: torch.Tensor, conv: nn.Module, dilation: Tuple[int, int] = (1, 1)) -> torch.Tensor:
    """Depthwise 3x3 tap by tap, norm, leaky ReLU, 1x1, norm, leaky ReLU."""
    dy, dx = dilation
    height, width = x.shape[-2:]
    padded = F.pad(x, (dx, dx, dy, dy))
    total = torch.zeros_like(x)
    for i in range(3):
        for j in range(3):
            patch = padded[:, :, i * dy : i * dy + height, j * dx : j * dx + width]
            total = total + conv.depthwise.weight[:, 0, i, j][:, None, None] * patch
    x = _norm_leaky(total, conv.depthwise.norm)
    return _norm_leaky(_conv1x1(x, conv.pointwise.weight), conv.pointwise.norm)


def _dpc(x: torch.Tensor, cell: DensePredictionCell) -> torch.Tensor:
    first = _sep_conv(x, cell.convs[0], (1, 6))
    second = _sep_conv(first, cell.convs[1], (1, 1))
    third = _sep_conv(first, cell.convs[2], (6, 21))
    fourth = _sep_conv(first, cell.convs[3], (18, 15))
    fifth = _sep_conv(fourth, cell.convs[4], (6, 3))
    x = torch.cat([first, second, third, fourth, fifth], dim=1)
    return _norm_leaky(_conv1x1(x, cell.project.weight), cell.project.norm)


def _lsfe(x: torch.Tensor, block: nn.Sequential) -> torch.Tensor:
    return _sep_conv(_sep_conv(x, block[0]), block[1])


@pytest.mark.parametrize("size", [(24, 50), (3, 7), (1, 1)])
def test_dense_prediction_cell_equals_a_plain_restatement(size: Tuple[int, int]) -> None:
    cell = _prepared(DensePredictionCell(4, 6, **STYLE))
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    output = cell(x)
    assert output.shape == (2, 6, *size)
    torch.testing.assert_close(output, _dpc(x, cell))


@pytest.mark.parametrize(
    "changed, expected",
    [(0, {0, 1, 2, 3, 4}), (1, {1}), (2, {2}), (3, {3, 4}), (4, {4})],
)
def test_dense_prediction_cell_wiring(changed: int, expected: set) -> None:
    """Which of the five concatenated outputs depend on which convolution."""
    cell = _prepared(DensePredictionCell(4, 6, **STYLE))
    seen = []
    cell.project.register_forward_pre_hook(lambda _, args: seen.append(args[0].chunk(5, dim=1)))
    x = torch.randn(1, 4, 12, 12, dtype=torch.float64)
    with torch.no_grad():
        cell(x)
        cell.convs[changed].pointwise.weight.mul_(2)
        cell(x)
    before, after = seen
    assert {k for k in range(5) if not torch.equal(before[k], after[k])} == expected


@pytest.mark.parametrize("size", [(8, 12), (1, 3)])
def test_large_scale_feature_extractor(size: Tuple[int, int]) -> None:
    block = _prepared(LargeScaleFeatureExtractor(4, 6, **STYLE))
    x = torch.randn(2, 4, *size, dtype=torch.float64)
    torch.testing.assert_close(block(x), _lsfe(x, block))


def test_mismatch_correction_doubles_the_size() -> None:
    block = _prepared(MismatchCorrection(6, **STYLE))
    x = torch.randn(2, 6, 3, 5, dtype=torch.float64)
    small = _lsfe(x, block.convs)
    # Bilinear x2 without aligned corners: weights 3/4 and 1/4, the border repeated.
    padded = F.pad(small, (1, 1, 1, 1), mode="replicate")
    rows = torch.stack(
        [
            0.25 * padded[:, :, :-2] + 0.75 * padded[:, :, 1:-1],
            0.75 * padded[:, :, 1:-1] + 0.25 * padded[:, :, 2:],
        ],
        dim=3,
    ).flatten(2, 3)
    expected = torch.stack(
        [
            0.25 * rows[..., :-2] + 0.75 * rows[..., 1:-1],
            0.75 * rows[..., 1:-1] + 0.25 * rows[..., 2:],
        ],
        dim=4,
    ).flatten(3, 4)
    assert expected.shape == (2, 6, 6, 10)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(
    "make, count",
    [
        (lambda: LargeScaleFeatureExtractor(256, 128, **STYLE), 107_776 // 2),
        (lambda: DensePredictionCell(256, 128, **STYLE), 1_016_832 // 2),
        (lambda: MismatchCorrection(128, **STYLE), 72_192 // 2),
    ],
)
def test_parameter_counts(make: Callable[[], nn.Module], count: int) -> None:
    assert sum(p.numel() for p in make().parameters()) == count
