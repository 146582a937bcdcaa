"""Norms of layers that levels share: the cells of all levels are one batch."""

import copy
from typing import List

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from effps_solo.inference.preparation import fold_norms
from effps_solo.modeling.instance_head.solov2.branches import CoordinateConv, EfficientGridBranches
from effps_solo.modeling.instance_head.solov2.levels import run_on_levels
from effps_solo.modeling.layers import separable_conv

SIZES = [(5, 7), (3, 4), (1, 1)]


def _levels(channels: int) -> List[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, channels, *size) + level for level, size in enumerate(SIZES)]


def test_mean_and_variance_are_those_of_the_cells_of_all_levels() -> None:
    """By hand: one channel, cells 1, 2 | 3 in each of two images: mean 2, variance 2 / 3."""
    conv = CoordinateConv(1, 1, norm="BN")
    nn.init.ones_(conv.feature.weight)
    nn.init.zeros_(conv.position.weight)
    levels = [torch.tensor([1.0, 2.0]).reshape(1, 1, 1, 2), torch.tensor([[[[3.0]]]])]
    fine, coarse = run_on_levels([conv.train()], [x.expand(2, -1, -1, -1) for x in levels])
    assert fine.shape == (2, 1, 1, 2) and coarse.shape == (2, 1, 1, 1)
    assert fine.flatten().tolist() == [0, 0, 0, 0]
    assert coarse.flatten().tolist() == pytest.approx([1.5**0.5] * 2, abs=1e-4)
    assert conv.norm.running_mean.item() == pytest.approx(0.2)  # momentum 0.1
    assert conv.norm.running_var.item() == pytest.approx(0.9 + 0.1 * 4 / 5)  # without bias


def test_separable_convolutions_equal_a_plain_restatement() -> None:
    layer = separable_conv(8, 6, norm="BN", activation="relu").train()
    levels = _levels(8)
    xs = [F.conv2d(x, layer.depthwise.weight, padding=1, groups=8) for x in levels]
    for weight in (None, layer.pointwise.weight):
        xs = xs if weight is None else [F.conv2d(x, weight) for x in xs]
        cells = torch.cat([x.transpose(0, 1).flatten(1) for x in xs], dim=1)
        mean, var = cells.mean(1)[:, None, None], cells.var(1, unbiased=False)[:, None, None]
        xs = [((x - mean) / (var + 1e-5).sqrt()).clamp(min=0) for x in xs]
    for actual, expected in zip(run_on_levels([layer], levels), xs):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["GN", "FrozenBN", ""])
def test_without_batch_statistics_a_level_is_by_itself(norm: str) -> None:
    layers = [
        CoordinateConv(8, 32, norm=norm),
        separable_conv(32, 32, norm=norm, activation="relu"),
    ]
    for actual, x in zip(run_on_levels(layers, _levels(8)), _levels(8)):
        assert torch.equal(actual, layers[1](layers[0](x)))


def test_no_layers_and_no_images() -> None:
    levels = _levels(4)
    assert run_on_levels([], levels) is levels
    empty = [x[:0] for x in levels]
    found = run_on_levels([CoordinateConv(4, 8, norm="BN").eval()], empty)
    assert [x.shape for x in found] == [(0, 8, *size) for size in SIZES]


@pytest.mark.parametrize("norm", ["BN", "SyncBN"])
def test_trained_branches_predict_with_folded_norms(norm: str) -> None:
    torch.manual_seed(0)
    branches = EfficientGridBranches(8, num_classes=3, kernel_size=5, channels=8, norm=norm)
    for _ in range(3):
        branches(_levels(8), SIZES)
    folded = copy.deepcopy(branches.eval())
    fold_norms(folded)
    assert not any("Norm" in type(m).__name__ for m in folded.modules())
    before, after = branches(_levels(8), SIZES), folded(_levels(8), SIZES)
    for actual, expected in zip(sum(after, []), sum(before, [])):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_weight_and_every_level() -> None:
    branches = EfficientGridBranches(8, num_classes=3, kernel_size=5, channels=8, norm="BN")
    levels = [x.requires_grad_() for x in _levels(8)]
    category, kernels = branches(levels, SIZES)
    sum(x.square().sum() for x in category + kernels).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in branches.parameters())
    assert all(x.grad is not None and x.grad.any() for x in levels)
