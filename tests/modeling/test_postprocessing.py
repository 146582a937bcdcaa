"""The masks of instances in the frame of the output, against a full sampling and both ways they are made."""

from typing import Any, Callable, List, Tuple

import pytest
import torch
import torch.nn.functional as F
from detectron2.structures import Boxes, Instances

from effps_solo.modeling.detections import boxes_from_masks
from effps_solo.modeling.instance_head import Stride4Masks
from effps_solo.modeling.instance_head.solov2.published import PublishedMasks
from effps_solo.modeling.postprocessing import (
    WindowedMasks,
    instances_to_output,
    output_masks,
    windowed_masks,
)
from effps_solo.modeling.upsampling import stride4_size
from effps_solo.structures.label_space import PanopticLabelSpace
from tests.modeling.bilinear import bilinear

STREET = PanopticLabelSpace({i: i for i in range(11, 19)}, {i: i for i in range(11)})
Size = Tuple[int, int]
AllAtOnce = Callable[[], Any]
FRAMES = [((32, 48), (32, 48)), ((30, 45), (30, 45)), ((32, 48), (50, 40)), ((30, 45), (13, 70))]


def _smooth(channels: int, height: int, width: int, coarseness: int) -> torch.Tensor:
    coarse = torch.randn(1, channels, height // coarseness + 2, width // coarseness + 2)
    return F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)[0]


def _instances(maps: torch.Tensor, image_size: Size, thing_index: List[int]) -> Instances:
    instances = Instances(image_size)
    instances.scores = torch.linspace(0.9, 0.1, len(maps))
    instances.thing_index = torch.tensor(thing_index, dtype=torch.int64)
    boxes = torch.zeros(len(maps), 4)
    for k, mask in enumerate(maps > 0):
        if mask.any():
            rows, columns = mask.nonzero(as_tuple=True)
            corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            boxes[k] = 4 * torch.stack(corners)
    instances.pred_boxes = Boxes(boxes)
    instances.pred_boxes.clip(image_size)
    instances.mask_source = Stride4Masks(maps)
    return instances


def _reference_masks(maps: torch.Tensor, image_size: Size, output_size: Size) -> torch.Tensor:
    """Every pixel centre of the output sampled in the maps."""
    masks = torch.zeros(len(maps), *output_size, dtype=torch.bool)
    for k in range(len(maps)):
        for y in range(output_size[0]):
            row = (y + 0.5) * image_size[0] / output_size[0] / 4 - 0.5
            for x in range(output_size[1]):
                column = (x + 0.5) * image_size[1] / output_size[1] / 4 - 0.5
                masks[k, y, x] = bilinear(maps[k], row, column) > 0
    return masks


@pytest.mark.parametrize("image_size, output_size", FRAMES)
def test_masks_equal_a_full_sampling(image_size: Size, output_size: Size) -> None:
    torch.manual_seed(0)
    maps = _smooth(5, *stride4_size(image_size), 3)
    instances = _instances(maps, image_size, [0, 1, 2, 3, 7])
    expected = _reference_masks(maps, image_size, output_size)
    result = instances_to_output(instances, output_size, STREET)
    assert result.image_size == output_size and len(result) == 5
    assert (result.pred_masks != expected).float().mean() < 1e-3
    windowed = windowed_masks(instances, output_size)
    for k in range(5):
        rows, columns = windowed.windows[k]
        window = torch.zeros(output_size, dtype=torch.bool)
        window[rows, columns] = windowed.masks[k]
        assert torch.equal(window, result.pred_masks[k])


def test_instances_to_output() -> None:
    maps = torch.full((3, 6, 8), -5.0)
    maps[0, 1:3, 2:5] = 5.0
    maps[1, 5, 7] = 5.0
    result = instances_to_output(_instances(maps, (24, 32), [2, 7, 0]), (24, 32), STREET)
    # The third one has no pixel. Equal logits: the border is half way between the points.
    assert len(result) == 2
    assert result.pred_classes.tolist() == [13, 18]
    assert result.scores.tolist() == pytest.approx([0.9, 0.5])
    assert result.pred_masks.dtype == torch.bool and result.pred_masks.shape == (2, 24, 32)
    assert result.pred_boxes.tensor.tolist() == [[8, 4, 20, 12], [28, 20, 32, 24]]
    assert result.pred_masks.flatten(1).sum(1).tolist() == [8 * 12 - 4, 16 - 1]
    for mask, box in zip(result.pred_masks, result.pred_boxes.tensor.tolist()):
        rows, columns = mask.nonzero(as_tuple=True)
        assert [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] == box


@pytest.mark.parametrize("output_size", [(24, 32), (100, 17)])
def test_no_instances_to_output(output_size: Size) -> None:
    empty = _instances(torch.zeros(0, 6, 8), (24, 32), [])
    result = instances_to_output(empty, output_size, STREET)
    assert len(result) == 0
    assert result.pred_masks.shape == (0, *output_size)
    assert result.pred_boxes.tensor.shape == (0, 4)
    assert result.pred_classes.shape == (0,) and result.pred_classes.dtype == torch.int64


def test_no_thing_class_to_output() -> None:
    space = PanopticLabelSpace({}, {7: 0})
    result = instances_to_output(_instances(torch.zeros(0, 6, 8), (24, 32), []), (24, 32), space)
    assert result.pred_classes.dtype == torch.int64


def test_a_mask_smaller_than_an_output_pixel() -> None:
    """Shrunk eight times a small mask may vanish: it is dropped, not an error."""
    maps = torch.full((2, 16, 16), -5.0)
    maps[0, 2, 2] = 0.01
    maps[1, 4:12, 4:12] = 5.0
    result = instances_to_output(_instances(maps, (64, 64), [0, 1]), (8, 8), STREET)
    assert result.pred_classes.tolist() == [12]


def _many(image_size: Size, published: bool = False) -> Instances:
    """Thirteen objects, one of them empty."""
    torch.manual_seed(0)
    maps = _smooth(13, *stride4_size(image_size), 3) - 0.3
    maps[4] = -1.0
    instances = _instances(maps, image_size, [k % 8 for k in range(13)])
    instances.mask_source = PublishedMasks(maps, image_size) if published else Stride4Masks(maps)
    return instances


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("image_size, output_size", FRAMES)
def test_masks_made_at_once_are_those_made_one_by_one(
    all_at_once: AllAtOnce, image_size: Size, output_size: Size, published: bool
) -> None:
    instances = _many(image_size, published)
    # Rounding may tip a pixel on a border.
    sure = instances.mask_source.frame_logits(image_size, output_size).abs() > 1e-5
    assert sure.float().mean() > 0.99
    results = {}
    for whole in (True, False):
        parts = instances_to_output(instances, output_size, STREET, whole_masks=whole)
        assert torch.equal(parts.pred_boxes.tensor, boxes_from_masks(_tensor(parts)))
        masks = output_masks(instances, output_size)
        with all_at_once():
            results[whole] = instances_to_output(instances, output_size, STREET, whole_masks=whole)
            assert not (output_masks(instances, output_size) ^ masks)[sure].any()
        assert torch.equal(results[whole].scores, parts.scores)
        assert torch.equal(results[whole].pred_classes, parts.pred_classes)
        assert torch.equal(
            results[whole].pred_boxes.tensor, boxes_from_masks(_tensor(results[whole]))
        )
        visible = masks.flatten(1).any(dim=1)
        assert torch.equal(_tensor(parts), masks[visible])
        assert not (_tensor(results[whole]) ^ masks[visible])[sure[visible]].any()
    assert isinstance(results[True].pred_masks, torch.Tensor)
    assert isinstance(results[False].pred_masks, WindowedMasks)


def _tensor(instances: Instances) -> torch.Tensor:
    masks = instances.pred_masks
    return masks.tensor() if isinstance(masks, WindowedMasks) else masks


@pytest.mark.parametrize("output_size", [(24, 32), (100, 17)])
def test_no_mask_at_once(all_at_once: AllAtOnce, output_size: Size) -> None:
    empty = _instances(torch.zeros(0, 6, 8), (24, 32), [])
    with all_at_once():
        assert output_masks(empty, output_size).shape == (0, *output_size)
        for whole in (True, False):
            result = instances_to_output(empty, output_size, STREET, whole_masks=whole)
            assert _tensor(result).shape == (0, *output_size)
            assert result.pred_boxes.tensor.shape == (0, 4)


def _three() -> Tuple[WindowedMasks, torch.Tensor]:
    """Masks of a 4 x 6 frame, the second of them empty, and the same as a tensor."""
    corner = torch.tensor([[True, False], [True, True]])
    windows = [(slice(0, 2), slice(1, 3)), (slice(0, 1), slice(0, 1)), (slice(3, 4), slice(4, 6))]
    masks = [corner, torch.zeros(1, 1, dtype=torch.bool), torch.ones(1, 2, dtype=torch.bool)]
    whole = torch.zeros(3, 4, 6, dtype=torch.bool)
    whole[0, :2, 1] = whole[0, 1, 2] = whole[2, 3, 4:] = True
    return WindowedMasks(windows, masks, (4, 6)), whole


def test_windowed_masks_worked_by_hand() -> None:
    masks, whole = _three()
    assert len(masks) == 3 and torch.equal(masks.tensor(), whole)
    assert all(torch.equal(masks[k], whole[k]) for k in (0, 1, 2, -1))
    assert all(torch.equal(mask, expected) for mask, expected in zip(masks, whole))
    assert len(list(masks)) == 3
    assert masks.boxes().tolist() == [[1, 0, 3, 2], [0, 0, 0, 0], [4, 3, 6, 4]]
    assert masks.to("cpu") is masks


@pytest.mark.parametrize(
    "index",
    [
        torch.tensor([2, 0, 2]),
        torch.tensor([True, False, True]),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(3, dtype=torch.bool),
        slice(1, None),
        slice(0, 0),
    ],
)
def test_some_of_windowed_masks(index: Any) -> None:
    masks, whole = _three()
    chosen = masks[index]
    assert isinstance(chosen, WindowedMasks)
    assert torch.equal(chosen.tensor(), whole[index]) and len(chosen) == len(whole[index])
    assert chosen.boxes().shape == (len(chosen), 4)


def test_windowed_masks_are_a_field_of_instances() -> None:
    masks, whole = _three()
    instances = Instances((4, 6), scores=torch.tensor([0.9, 0.5, 0.2]), pred_masks=masks)
    kept = instances[instances.scores < 0.6].to("cpu")
    assert torch.equal(kept.pred_masks.tensor(), whole[1:])
    assert torch.equal(instances[2].pred_masks.tensor(), whole[2:])
    assert torch.equal(instances[:2].pred_masks.tensor(), whole[:2])
