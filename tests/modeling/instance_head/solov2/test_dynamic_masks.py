"""Dynamic masks: parts equal the whole, and no mask lies where it is said not to reach."""

from typing import Tuple

import pytest
import torch
import torch.nn.functional as F

from effps_solo.modeling.detections import boxes_from_masks
from effps_solo.modeling.instance_head.solov2.dynamic_masks import FAR_LOGIT, DynamicMasks, tile_max
from effps_solo.modeling.instance_head.solov2.position_prior import (
    PEAK_LOGIT,
    position_prior_bounds,
    position_prior_terms,
)

SIZE = (40, 70)
TILE = 16


def random_masks(has_prior: bool, num_cells: int = 30, channels: int = 6) -> DynamicMasks:
    """Kernels short and long, features that may be 0 or negative."""
    torch.manual_seed(0)
    features = torch.randn(channels, *SIZE) * torch.rand(channels, 1, 1)
    features[:, :, 50:] = 0
    kernels = torch.randn(num_cells, channels + 5 * has_prior)
    kernels[:, :channels] *= torch.logspace(-2, 1, num_cells)[:, None]
    masks = DynamicMasks(kernels, features)
    if has_prior:
        masks.centers = torch.rand(num_cells, 2) * torch.tensor([4.0 * SIZE[1], 4.0 * SIZE[0]])
        masks.extents = torch.logspace(0, 2, num_cells)
    return masks


@pytest.mark.parametrize("has_prior", [False, True])
def test_parts_are_parts_of_the_whole(has_prior: bool) -> None:
    masks, cells = random_masks(has_prior), torch.tensor([7, 3, 3])
    whole = masks.logits(cells)
    assert whole.shape == (3, *SIZE)
    rows, columns = slice(5, 21), slice(64, 70)
    part = masks.logits(cells, rows, columns)
    torch.testing.assert_close(part, whole[:, rows, columns], rtol=1e-5, atol=1e-4)
    assert masks.logits(cells[:0]).shape == (0, *SIZE)
    torch.testing.assert_close(masks.of(cells).logits(), whole, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("size", [SIZE, (38, 65), (3, 1)])
@pytest.mark.parametrize("has_prior", [False, True])
def test_whole_masks_and_their_boxes(has_prior: bool, size: Tuple[int, int]) -> None:
    """The dense logits in and up to two points around each mask; far away what no mask can have."""
    masks, cells = random_masks(has_prior), torch.tensor([2, 29, 11, 11, 0])
    reach = masks.of(cells).reach()
    maps, boxes = masks.whole(cells, reach, size)
    dense = masks.logits(cells)[:, : size[0], : size[1]]
    inside = dense > 0
    near = F.max_pool2d(inside.float(), 5, stride=1, padding=2) > 0
    assert maps.shape == dense.shape and torch.equal(maps > 0, inside)
    torch.testing.assert_close(maps[near], dense[near], rtol=1e-5, atol=1e-4)
    far = (maps != dense) & ~torch.isclose(maps, dense, rtol=1e-5, atol=1e-4)
    assert (maps[far] == FAR_LOGIT).all()
    assert torch.equal(boxes, boxes_from_masks(inside))
    if has_prior and size == SIZE:
        assert inside.any() and far.any() and not inside.all()
    maps, boxes = masks.whole(cells[:0], reach[:0], size)
    assert maps.shape == (0, *size) and boxes.shape == (0, 4)
    maps, boxes = masks.whole(cells, torch.zeros_like(reach), size)
    assert (maps == FAR_LOGIT).all() and not boxes.any()


def any_in_tiles(inside: torch.Tensor) -> torch.Tensor:
    return F.max_pool2d(inside.float(), TILE, ceil_mode=True) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("has_prior", [False, True])
def test_no_mask_reaches_farther(has_prior: bool, dtype: torch.dtype) -> None:
    masks, cells = random_masks(has_prior), torch.arange(30)
    masks.features = masks.features.to(dtype)
    masks.kernels = masks.kernels.to(dtype)
    reach = masks.of(cells).reach(TILE)
    assert reach.shape == (30, 3, 5) and reach.dtype == torch.bool
    there = any_in_tiles(masks.logits(cells) > 0)
    assert not (there & ~reach).any() and there.any()
    if has_prior:
        assert 0.1 < reach.float().mean() < 0.7
    else:
        assert not reach[:, :, 4].any()  # where all features are 0
    assert masks.of(cells[:0]).reach(TILE).shape == (0, 3, 5)


def test_a_blob_without_a_kernel_reaches_two_deviations() -> None:
    """Worked by hand: a prior of peak 2 is positive within 2 standard deviations of its centre."""
    parameters = torch.zeros(1, 1 + 5)
    masks = DynamicMasks(
        parameters, torch.ones(1, 32, 64), torch.tensor([[66.0, 30.0]]), torch.tensor([8.0])
    )
    # x in 50 .. 82, y in 14 .. 46: points 12 .. 20 and 3 .. 11 of 4 pixels each, tiles of 8 points.
    reach = masks.reach(8)
    assert reach[0].int().tolist() == [[0, 1, 1, 0, 0, 0, 0, 0]] * 2 + [[0] * 8] * 2
    assert (masks.logits() > 0).sum() > 40


def test_bounds_of_the_prior() -> None:
    torch.manual_seed(0)
    parameters = torch.randn(20, 5)
    centers, extents = torch.rand(20, 2) * 200 - 20, torch.logspace(0, 2, 20)
    rows, columns = position_prior_terms(parameters, centers, extents, SIZE)
    logits = rows[:, :, None] + columns[:, None, :]
    bounds = position_prior_bounds(parameters, centers, extents, SIZE, TILE)
    highest = F.max_pool2d(logits, TILE, ceil_mode=True)
    assert bounds.shape == highest.shape and (bounds >= highest - 1e-4).all()
    inside = (centers[:, 0] > 0) & (centers[:, 0] < 4 * SIZE[1])
    assert inside.any() and (bounds <= (PEAK_LOGIT + parameters[:, 4])[:, None, None] + 1e-5).all()


def test_the_largest_value_of_each_tile() -> None:
    maps = torch.arange(12.0).view(1, 3, 4)
    assert tile_max(maps, 2).tolist() == [[[5.0, 7.0], [9.0, 11.0]]]
