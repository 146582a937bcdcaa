"""Masks in one id map against Detectron2's bitmaps."""

import pytest
import torch
from detectron2.structures import BitMasks, Instances

from effps_solo.data.object_masks import ObjectMasks


def _objects(height: int = 60, width: int = 90) -> torch.Tensor:
    objects = torch.zeros(height, width, dtype=torch.int32)
    objects[5:40, 3:30] = 1
    objects[20:59, 25:80] = 2
    objects[10:14, 60:63] = 3
    objects[30:50, 40:60] = 0  # a hole
    return objects


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size", [28, 7])
def test_targets_equal_those_of_bit_masks(size: int, seed: int) -> None:
    torch.manual_seed(seed)
    objects, ids = _objects(), torch.randint(1, 4, (40,))
    corners = torch.rand(40, 4) * torch.tensor([80.0, 50.0, 80.0, 50.0])
    low, high = corners[:, :2].minimum(corners[:, 2:]), corners[:, :2].maximum(corners[:, 2:])
    boxes = torch.cat([low, high + torch.rand(40, 2) * 10], dim=1)
    boxes[::4] = boxes[::4].round()
    boxes[0] = torch.tensor([0.0, 0.0, 90.0, 60.0])
    expected = BitMasks(objects == ids[:, None, None]).crop_and_resize(boxes, size)
    actual = ObjectMasks(objects, ids).crop_and_resize(boxes, size)
    assert actual.shape == (40, size, size) and actual.dtype == torch.bool
    # Half-covered cells may fall on either side: positions are rounded differently.
    assert (actual != expected).float().mean() < 1e-3
    assert 0.05 < actual.float().mean() < 0.95


def test_worked_by_hand() -> None:
    objects = torch.zeros(8, 8, dtype=torch.int32)
    objects[2:6, 2:4], objects[2:6, 4:6] = 1, 2
    masks = ObjectMasks(objects, torch.tensor([1, 2, 9]))
    boxes = torch.tensor([[2.0, 2.0, 6.0, 6.0]]).repeat(3, 1)
    left, right, nothing = masks.crop_and_resize(boxes, 4)
    assert left.tolist() == [[True, True, False, False]] * 4
    assert torch.equal(right, ~left) and not nothing.any()


def test_is_a_field_of_instances() -> None:
    instances = Instances((60, 90))
    instances.gt_classes = torch.tensor([4, 5, 6])
    instances.gt_masks = ObjectMasks(_objects(), torch.tensor([1, 2, 3]))
    assert instances[torch.tensor([2, 0, 2])].to("cpu").gt_masks.ids.tolist() == [3, 1, 3]
    assert instances[instances.gt_classes > 4].gt_masks.ids.tolist() == [2, 3]
    assert instances[1].gt_masks.ids.tolist() == [2]
    empty = instances[:0].gt_masks
    assert len(empty) == 0
    assert empty.crop_and_resize(torch.zeros(0, 4), 28).shape == (0, 28, 28)
