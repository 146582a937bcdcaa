"""Dynamic masks: parts equal the whole, and no mask lies where it is said not to reach."""

import pytest
import torch
import torch.nn.functional as F

from effps_solo.modeling.instance_head.solov2.dynamic_masks import DynamicMasks, tile_max
from effps_solo.modeling.instance_head.solov2.position_prior import (
    PEAK_LOGIT,
    Gaussians,
)
from effps_solo.modeling.mask_layers import Tiles

SIZE = (40, 70)
TILES = Tiles(SIZE, (16, 16))


def random_masks(has_prior: bool, num_cells: int = 30, channels: int = 6) -> DynamicMasks:
    """Kernels short and long, features that may be 0 or negative."""
    torch.manual_seed(0)
    features = torch.randn(*SIZE, channels) * torch.rand(channels)
    features[:, 50:] = 0
    kernels = torch.randn(num_cells, channels + 5 * has_prior)
    kernels[:, :channels] *= torch.logspace(-2, 1, num_cells)[:, None]
    masks = DynamicMasks(kernels, features)
    if has_prior:
        masks.centers = torch.rand(num_cells, 2) * torch.tensor([4.0 * SIZE[1], 4.0 * SIZE[0]])
        masks.extents = torch.logspace(0, 2, num_cells)
    return masks


@pytest.mark.parametrize("has_prior", [False, True])
def test_some_of_the_masks_on_a_part_of_the_map(has_prior: bool) -> None:
    masks, cells = random_masks(has_prior), torch.tensor([7, 3, 3])
    whole = masks.logits()
    assert whole.shape == (30, *SIZE)
    torch.testing.assert_close(masks.of(cells).logits(), whole[cells], rtol=1e-5, atol=1e-4)
    part = masks.of(cells, (21, 64)).logits()
    torch.testing.assert_close(part, whole[cells][:, :21, :64], rtol=1e-5, atol=1e-4)
    assert masks.of(cells[:0]).logits().shape == (0, *SIZE)


def any_near_tiles(inside: torch.Tensor) -> torch.Tensor:
    """Whether a point in a tile or at most two away from it is inside."""
    near = F.max_pool2d(inside.float(), 5, stride=1, padding=2)
    return F.max_pool2d(near, TILES.side[0], ceil_mode=True) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("has_prior", [False, True])
def test_no_mask_reaches_farther(has_prior: bool, dtype: torch.dtype) -> None:
    masks, cells = random_masks(has_prior), torch.arange(30)
    masks.features = masks.features.to(dtype)
    masks.kernels = masks.kernels.to(dtype)
    reach = masks.of(cells).reach(TILES)
    assert reach.shape == (30, 3, 5) and reach.dtype == torch.bool
    there = any_near_tiles(masks.of(cells).logits() > 0)
    assert not (there & ~reach).any() and there.any()
    if has_prior:
        assert 0.1 < reach.float().mean() < 0.7
    else:
        assert not reach[:, :, 4].any()  # where all features are 0
    assert masks.of(cells[:0]).reach(TILES).shape == (0, 3, 5)


def test_a_blob_without_a_kernel_reaches_two_deviations() -> None:
    """Worked by hand: a prior of peak 2 is positive within 2 standard deviations of its centre."""
    parameters = torch.zeros(1, 1 + 5)
    masks = DynamicMasks(
        parameters, torch.ones(32, 64, 1), torch.tensor([[66.0, 30.0]]), torch.tensor([8.0])
    )
    # x in 50 .. 82, y in 14 .. 46: points 12 .. 20 and 3 .. 11 of 4 pixels each, tiles of 8 points, and two
    # points beyond them.
    reach = masks.reach(Tiles((32, 64), (8, 8)))
    assert reach[0].int().tolist() == [[0, 1, 1, 0, 0, 0, 0, 0]] * 2 + [[0] * 8] * 2
    centers = torch.tensor([[82.0, 30.0]])  # points 16 .. 24, of which 15 and 14 need them, too
    masks = DynamicMasks(parameters, torch.ones(32, 64, 1), centers, torch.tensor([8.0]))
    reach = masks.reach(Tiles((32, 64), (8, 8)))
    assert reach[0].int().tolist() == [[0, 1, 1, 1, 0, 0, 0, 0]] * 2 + [[0] * 8] * 2
    assert (masks.logits() > 0).sum() > 40


def test_bounds_of_the_prior() -> None:
    torch.manual_seed(0)
    parameters = torch.randn(20, 5)
    centers, extents = torch.rand(20, 2) * 200 - 20, torch.logspace(0, 2, 20)
    rows, columns = Gaussians.of(parameters, centers, extents).terms(SIZE)
    logits = rows[:, :, None] + columns[:, None, :]
    bounds = Gaussians.of(parameters, centers, extents).bounds(TILES)
    highest = F.max_pool2d(logits, TILES.side[0], ceil_mode=True)
    assert bounds.shape == highest.shape and (bounds >= highest - 1e-4).all()
    inside = (centers[:, 0] > 0) & (centers[:, 0] < 4 * SIZE[1])
    assert inside.any() and (bounds <= (PEAK_LOGIT + parameters[:, 4])[:, None, None] + 1e-5).all()


def test_the_largest_value_of_each_tile() -> None:
    maps = torch.arange(12.0).view(1, 3, 4)
    tiles = Tiles((3, 4), (2, 2))
    assert tile_max(maps, tiles).tolist() == [[[5.0, 7.0], [9.0, 11.0]]]
    assert tile_max(maps, tiles, 1).tolist() == [[[10.0, 11.0], [10.0, 11.0]]]
