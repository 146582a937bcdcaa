"""The three branches: published layout, coordinates, and plain re-statements of both variants."""

from typing import Any, List, Tuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from effps_solo.modeling.instance_head.solov2.branches import (
    CoordinateConv,
    EfficientGridBranches,
    EfficientMaskBranch,
    FullGridBranches,
    FullMaskBranch,
    coordinates,
)

GRIDS = [(40, 40), (36, 36), (24, 24), (16, 16), (12, 12)]
RECTANGLES = [(6, 12), (5, 9), (4, 8), (3, 4), (2, 3)]


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _pyramid(height: int, width: int, channels: int, levels: int) -> List[torch.Tensor]:
    return [torch.randn(2, channels, height >> i, width >> i) for i in range(levels)]


def _bilinear(x: torch.Tensor, size: Tuple[int, int]) -> torch.Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _conv_gn_relu(x: torch.Tensor, conv: nn.Module) -> torch.Tensor:
    x = F.conv2d(x, conv.weight, padding=conv.weight.shape[-1] // 2, groups=conv.groups)
    return _gn(x, conv.norm).clamp(min=0)


def _gn(x: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    """Group normalisation with 32 groups, written out."""
    n, c, h, w = x.shape
    groups = x.reshape(n, 32, -1)
    mean = groups.mean(-1, keepdim=True)
    var = (groups - mean).square().mean(-1, keepdim=True)
    x = ((groups - mean) / (var + 1e-5).sqrt()).reshape(n, c, h, w)
    return x * norm.weight[:, None, None] + norm.bias[:, None, None]


def _with_xy(x: torch.Tensor) -> torch.Tensor:
    height, width = x.shape[-2:]
    along_x = torch.tensor([-1 + 2 * j / (width - 1) for j in range(width)])
    along_y = torch.tensor([-1 + 2 * i / (height - 1) for i in range(height)])
    xx = along_x[None, None, None, :].expand(len(x), 1, height, width)
    yy = along_y[None, None, :, None].expand(len(x), 1, height, width)
    return torch.cat([x, xx, yy], dim=1)


def test_coordinates() -> None:
    xy = coordinates(torch.zeros(2, 4, 3, 5).bfloat16())
    assert xy.shape == (1, 2, 3, 5) and xy.dtype == torch.float32
    assert xy[0, 0, 2].tolist() == [-1, -0.5, 0, 0.5, 1]
    assert xy[0, 1, :, 4].tolist() == [-1, 0, 1]


def test_full_parameter_counts() -> None:
    with torch.device("meta"):
        grid = FullGridBranches(256, num_classes=80, kernel_size=256)
        mask = FullMaskBranch([256] * 4, channels=128, out_channels=256)
    assert _count(grid) == 18_081_104
    assert _count(mask) == 1_659_392


def test_full_coordinates_at_the_grid() -> None:
    """Concatenated before the resize, so that the first and last value do not reach +-1."""
    torch.manual_seed(0)
    branches = FullGridBranches(4, num_classes=2, kernel_size=8, channels=32, num_convs=1)
    seen: List[torch.Tensor] = []
    branches.kernel_tower.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    sizes = [200, 100, 50, 25, 13]  # strides 4 .. 64 of 800 pixels
    with torch.no_grad():
        branches([torch.randn(1, 4, s, s) for s in sizes], GRIDS)
    ends = [0.985, 0.982, 0.978, 0.977, 0.955]
    for x, grid, end in zip(seen, GRIDS, ends):
        assert x.shape == (1, 6, *grid)
        assert float(x[0, 4, 0, 0]) == pytest.approx(-end, abs=6e-4)
        assert float(x[0, 4, 0, -1]) == pytest.approx(end, abs=6e-4)
        assert float(x[0, 5, 0, 0]) == pytest.approx(-end, abs=6e-4)
        assert float(x[0, 5, -1, 0]) == pytest.approx(end, abs=6e-4)
        # x grows along the columns only, y along the rows only.
        torch.testing.assert_close(x[0, 4, 0], x[0, 4, -1])
        torch.testing.assert_close(x[0, 5, :, 0], x[0, 5, :, -1])


@pytest.mark.parametrize("grids", [GRIDS, RECTANGLES])
def test_full_grid_branches_equal_a_plain_restatement(grids: List[Tuple[int, int]]) -> None:
    torch.manual_seed(0)
    branches = FullGridBranches(6, num_classes=3, kernel_size=10, channels=32, num_convs=2)
    features = _pyramid(16, 32, 6, 5)
    with torch.no_grad():
        category, kernels = branches(features, grids)
        levels = [F.avg_pool2d(features[0], 2), *features[1:4], _bilinear(features[4], (2, 4))]
        for level, (x, grid) in enumerate(zip(levels, grids)):
            kernel, x = _bilinear(_with_xy(x), grid), _bilinear(x, grid)
            for conv in branches.category_tower:
                x = _conv_gn_relu(x, conv)
            for conv in branches.kernel_tower:
                kernel = _conv_gn_relu(kernel, conv)
            x = F.conv2d(x, branches.category_predictor.weight, padding=1)
            x = x + branches.category_predictor.bias[:, None, None]
            kernel = F.conv2d(kernel, branches.kernel_predictor.weight, padding=1)
            kernel = kernel + branches.kernel_predictor.bias[:, None, None]
            assert category[level].shape == (2, 3, *grid)
            assert kernels[level].shape == (2, 10, *grid)
            torch.testing.assert_close(category[level], x, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(kernels[level], kernel, rtol=1e-4, atol=1e-5)


def test_the_caller_keeps_its_features() -> None:
    branches = FullGridBranches(4, num_classes=2, kernel_size=8, channels=32, num_convs=1)
    features = _pyramid(16, 32, 4, 5)
    before = list(features)
    branches(features, RECTANGLES)
    assert all(x is y for x, y in zip(features, before))


def test_full_mask_branch_equals_a_plain_restatement() -> None:
    torch.manual_seed(0)
    branch = FullMaskBranch([6, 6, 6, 6], channels=32, out_channels=64)
    features = _pyramid(16, 24, 6, 4)

    def doubled(x: torch.Tensor) -> torch.Tensor:
        return _bilinear(x, (2 * x.shape[-2], 2 * x.shape[-1]))

    p2, p3, p4, p5 = features
    with torch.no_grad():
        actual = branch(features)
        total = _conv_gn_relu(p2, branch.levels[0][0])
        total = total + doubled(_conv_gn_relu(p3, branch.levels[1][0]))
        for level, x in ((2, p4), (3, _with_xy(p5))):
            assert len(branch.levels[level]) == level
            for conv in branch.levels[level]:
                x = doubled(_conv_gn_relu(x, conv))
            total = total + x
        expected = _conv_gn_relu(total, branch.predictor)
    assert actual.shape == (2, 64, 16, 24) and (actual >= 0).all()
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_coordinate_conv_equals_a_conv_over_the_concatenation() -> None:
    torch.manual_seed(0)
    conv = CoordinateConv(6, 32, norm="GN")
    x = torch.randn(2, 6, 5, 9)
    weight = torch.cat([conv.feature.weight, conv.position.weight], dim=1)
    expected = _gn(F.conv2d(_with_xy(x), weight), conv.norm).clamp(min=0)
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-5)


def test_coordinate_conv_without_norm() -> None:
    conv = CoordinateConv(2, 1, norm="")
    nn.init.zeros_(conv.feature.weight)
    nn.init.constant_(conv.feature.bias, 0.25)
    with torch.no_grad():
        conv.position.weight[0, :, 0, 0] = torch.tensor([1.0, 0.0])
    out = conv(torch.randn(1, 2, 2, 3))
    assert out[0, 0].tolist() == [[0.0, 0.25, 1.25]] * 2


@pytest.mark.parametrize("grids", [GRIDS, RECTANGLES])
def test_efficient_grid_branches(grids: List[Tuple[int, int]]) -> None:
    torch.manual_seed(0)
    branches = EfficientGridBranches(6, num_classes=3, kernel_size=10, channels=32, num_convs=3)
    features = _pyramid(16, 32, 6, 5)
    with torch.no_grad():
        category, kernels = branches(features, grids)
        for level, (x, grid) in enumerate(zip(features, grids)):
            x = _bilinear(x, grid)
            weight = torch.cat(
                [branches.kernel_stem.feature.weight, branches.kernel_stem.position.weight], dim=1
            )
            kernel = _gn(F.conv2d(_with_xy(x), weight), branches.kernel_stem.norm).clamp(min=0)
            x = _conv_gn_relu(x, branches.category_stem)
            assert len(branches.category_tower) == len(branches.kernel_tower) == 2
            for conv in branches.category_tower:
                x = _conv_gn_relu(_conv_gn_relu(x, conv.depthwise), conv.pointwise)
            for conv in branches.kernel_tower:
                kernel = _conv_gn_relu(_conv_gn_relu(kernel, conv.depthwise), conv.pointwise)
            x, kernel = branches.category_predictor(x), branches.kernel_predictor(kernel)
            assert category[level].shape == (2, 3, *grid)
            assert kernels[level].shape == (2, 10, *grid)
            torch.testing.assert_close(category[level], x, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(kernels[level], kernel, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [FullMaskBranch, EfficientMaskBranch])
def test_mask_branches_of_one_image_of_32_pixels(kind: Any) -> None:
    """Its coarsest level is one point: one value for each of the 32 groups."""
    branch = kind([32] * 4, channels=32, out_channels=32)
    output = branch([x[:1] for x in _pyramid(8, 8, 32, 4)])
    assert output.shape == (1, 32, 8, 8) and output.isfinite().all()


@pytest.mark.parametrize("size", [(16, 24), (8, 8)])
def test_efficient_mask_branch(size: Tuple[int, int]) -> None:
    torch.manual_seed(0)
    branch = EfficientMaskBranch([32] * 4, channels=32, out_channels=64)
    output = branch(_pyramid(*size, 32, 4))
    assert output.shape == (2, 64, *size)
    assert (output >= 0).all()


def test_an_untrained_head_gives_every_class_one_percent() -> None:
    torch.manual_seed(0)
    for kind in (FullGridBranches, EfficientGridBranches):
        branches = kind(6, num_classes=3, kernel_size=10, channels=32)
        assert branches.category_predictor.bias.tolist() == pytest.approx([-4.595] * 3, abs=1e-3)
        assert not branches.kernel_predictor.bias.any()


def test_levels_share_weights() -> None:
    torch.manual_seed(0)
    branches = EfficientGridBranches(6, num_classes=3, kernel_size=10, channels=32, num_convs=2)
    x = torch.randn(1, 6, 9, 9)
    with torch.no_grad():
        category, kernels = branches([x, x], [(4, 6), (4, 6)])
    assert torch.equal(category[0], category[1]) and torch.equal(kernels[0], kernels[1])
