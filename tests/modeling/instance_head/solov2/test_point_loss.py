"""The loss at points: what is drawn, what the logits are there, and which points count."""

import math
from typing import List, Tuple

import pytest
import torch
import torch.nn.functional as F

from effps_solo.data.object_masks import ObjectMasks
from effps_solo.modeling.instance_head.solov2.point_loss import (
    MaskPoints,
    logits_at,
    point_loss,
    sample_points,
)

SIZE = (40, 60)


def _masks(boxes: List[Tuple[int, int, int, int]]) -> ObjectMasks:
    objects = torch.zeros(SIZE, dtype=torch.int32)
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        objects[y0:y1, x0:x1] = k + 7
    return ObjectMasks(objects, torch.arange(7, 7 + len(boxes)))


def test_points_lie_around_their_object_and_know_whether_they_are_inside() -> None:
    torch.manual_seed(0)
    boxes = [(20, 10, 40, 20), (0, 30, 8, 40), (39, 12, 40, 13)]
    points = sample_points(torch.tensor(boxes).float(), _masks(boxes), 200)
    assert points.locations.shape == (3, 600, 2) and points.inside.shape == (3, 600)
    # A quarter of the sides and 4 px to each side, inside the image.
    around = [(11, 3.5, 49, 26.5), (0, 23.5, 14, 40), (34.75, 7.75, 44.25, 17.25)]
    for (x0, y0, x1, y1), (u0, v0, u1, v1), xy, inside in zip(
        boxes, around, points.locations, points.inside
    ):
        x, y = xy.unbind(dim=1)
        assert x.min() >= u0 and x.max() <= u1 and y.min() >= v0 and y.max() <= v1
        assert x.max() - x.min() > 0.9 * (u1 - u0) and y.max() - y.min() > 0.9 * (v1 - v0)
        in_box = (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
        if (x0, y0) == (20, 10):  # the third object covers one of its pixels
            in_box &= ~((x >= 39) & (x < 40) & (y >= 12) & (y < 13))
        assert torch.equal(inside, in_box)


def test_without_objects() -> None:
    points = sample_points(torch.zeros(0, 4), _masks([]), 10)
    assert points.locations.shape == (0, 30, 2) and points.inside.shape == (0, 30)
    assert point_loss(torch.zeros(0, 10, 15), points).shape == (0,)


def test_logits_are_those_of_the_map_that_the_fusion_sees() -> None:
    """At the centres of pixels: the bilinear x4 upsampling."""
    torch.manual_seed(1)
    maps = torch.randn(2, 10, 15, dtype=torch.float64)
    full = F.interpolate(maps[None], scale_factor=4, mode="bilinear", align_corners=False)[0]
    x, y = torch.tensor([0, 3, 17, 59]), torch.tensor([0, 39, 21, 2])
    locations = torch.stack([x, y], dim=1).double() + 0.5
    actual = logits_at(maps, locations.expand(2, -1, -1))
    torch.testing.assert_close(actual, full[:, y, x])


def test_worked_by_hand() -> None:
    """12 candidates, 4 points: the three with the logits nearest to 0, and the first candidate."""
    values = torch.tensor([9.0, -8, 7, 0.5, -6, 5, -1.0, 4, -3, 2.0, -9, 8])
    maps = values.reshape(1, 1, 12)
    locations = torch.stack([4 * torch.arange(12.0) + 2, torch.full((12,), 2.0)], dim=1)[None]
    inside = torch.tensor([[True] * 6 + [False] * 6])
    expected = [
        math.log1p(math.exp(-0.5)),  # 0.5, inside
        math.log1p(math.exp(-1.0)),  # -1, outside
        math.log1p(math.exp(2.0)),  # 2, outside
        math.log1p(math.exp(-9.0)),  # the first
    ]
    loss = point_loss(maps, MaskPoints(locations, inside))
    assert float(loss) == pytest.approx(sum(expected) / 4)


def test_a_border_between_two_points_is_told_apart() -> None:
    """Targets at stride 4 are equal for objects that end 1 px before and 1 px behind a point."""
    torch.manual_seed(2)
    boxes = [(0, 0, 29, 40)]
    points = sample_points(torch.tensor(boxes).float(), _masks(boxes), 2000)
    x = 4 * torch.arange(15.0) + 2
    losses = [
        float(point_loss((edge - x).expand(1, 10, 15), points)) for edge in (26.5, 28, 29, 30, 31.5)
    ]
    assert min(losses) == losses[2]
    assert losses[1] > losses[2] < losses[3]


def test_gradients_and_types() -> None:
    torch.manual_seed(3)
    boxes = [(8, 8, 30, 30)]
    points = sample_points(torch.tensor(boxes).float(), _masks(boxes), 50)
    maps = torch.zeros(1, 10, 15, dtype=torch.bfloat16, requires_grad=True)
    loss = point_loss(maps, points)
    assert loss.dtype == torch.float32
    loss.sum().backward()
    assert maps.grad is not None
    inside, outside = maps.grad[0, 4, 4], maps.grad[0, 1, 1]
    assert inside < 0 < outside
    assert not maps.grad[0, :, 12:].any()  # nothing is asked far away
