"""The way from stride-4 maps to the output frame, against full-resolution references."""

import math
from typing import List, Tuple

import pytest
import torch
import torch.nn.functional as F
from detectron2.structures import Boxes, Instances

from effps_solo.modeling import postprocessing
from effps_solo.modeling.instance_head import Stride4Masks
from effps_solo.modeling.postprocessing import (
    _neighbours,
    instances_to_output,
    output_mask,
    resample,
    stride4_size,
    upsample_logits,
    upsampled_argmax,
)
from effps_solo.structures.label_space import PanopticLabelSpace

STREET = PanopticLabelSpace({i: i for i in range(11, 19)}, {i: i for i in range(11)})
Size = Tuple[int, int]


def _smooth(channels: int, height: int, width: int, coarseness: int) -> torch.Tensor:
    coarse = torch.randn(1, channels, height // coarseness + 2, width // coarseness + 2)
    return F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)[0]


def _full(logits: torch.Tensor, image_size: Size) -> torch.Tensor:
    full = F.interpolate(logits[None], scale_factor=4, mode="bilinear", align_corners=False)[0]
    return full[:, : image_size[0], : image_size[1]]


def _corner_winners(winner: torch.Tensor, image_size: Size, output_size: Size) -> List[list]:
    """Per output pixel the set of channels that win at one of the four points around it."""

    def around(index: int, image_length: int, output_length: int, count: int) -> set:
        position = (index + 0.5) * image_length / output_length / 4 - 0.5
        position = min(max(position, 0), count - 1)
        return {math.floor(position), math.ceil(position)}

    result = []
    for y in range(output_size[0]):
        rows = around(y, image_size[0], output_size[0], winner.shape[0])
        line = []
        for x in range(output_size[1]):
            columns = around(x, image_size[1], output_size[1], winner.shape[1])
            line.append({int(winner[i, j]) for i in rows for j in columns})
        result.append(line)
    return result


@pytest.mark.parametrize(
    "size, expected", [((32, 64), (8, 16)), ((33, 61), (9, 16)), ((1, 3), (1, 1))]
)
def test_stride4_size(size: Size, expected: Size) -> None:
    assert stride4_size(size) == expected


@pytest.mark.parametrize("seed", range(3))
def test_argmax_agrees_on_smooth_maps(seed: int) -> None:
    """Objects of some thirty points: 99.9 % of the pixels and more."""
    torch.manual_seed(seed)
    logits = _smooth(19, 64, 128, 32)
    actual = upsampled_argmax(logits, (256, 512), (256, 512))
    expected = _full(logits, (256, 512)).argmax(0)
    assert actual.dtype == torch.int64 and actual.shape == (256, 512)
    assert (actual == expected).float().mean() >= 0.999


@pytest.mark.parametrize(
    "image_size, output_size",
    [((24, 40), (24, 40)), ((22, 37), (22, 37)), ((24, 40), (31, 33)), ((21, 39), (10, 80))],
)
@pytest.mark.parametrize("seed", range(2))
def test_argmax_among_the_corner_winners(image_size: Size, output_size: Size, seed: int) -> None:
    """On noise: the definition pixel by pixel; exact where the four points agree."""
    torch.manual_seed(seed)
    logits = torch.randn(4, *stride4_size(image_size))
    actual = upsampled_argmax(logits, image_size, output_size)
    assert actual.shape == output_size
    rivals = _corner_winners(logits.argmax(0), image_size, output_size)
    y = (torch.arange(output_size[0]) + 0.5) * image_size[0] / output_size[0] / 4 - 0.5
    x = (torch.arange(output_size[1]) + 0.5) * image_size[1] / output_size[1] / 4 - 0.5
    for i in range(output_size[0]):
        for j in range(output_size[1]):
            row, column = float(y[i]), float(x[j])
            best = max(_bilinear(logits[c], row, column) for c in rivals[i][j])
            assert _bilinear(logits[actual[i, j]], row, column) >= best - 1e-5
            if len(rivals[i][j]) == 1:
                assert {int(actual[i, j])} == rivals[i][j]


def _bilinear(mask: torch.Tensor, row: float, column: float) -> float:
    height, width = mask.shape
    row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
    i, j = int(row), int(column)
    k, m = min(i + 1, height - 1), min(j + 1, width - 1)
    a, b = row - i, column - j
    upper = (1 - b) * float(mask[i, j]) + b * float(mask[i, m])
    lower = (1 - b) * float(mask[k, j]) + b * float(mask[k, m])
    return (1 - a) * upper + a * lower


@pytest.mark.parametrize("chunk", [1, 7, 10**6])
def test_argmax_in_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.randn(5, 6, 9)
    expected = upsampled_argmax(scores, (24, 36), (31, 50))
    monkeypatch.setattr(postprocessing, "CONTESTED_CHUNK", chunk)
    assert torch.equal(upsampled_argmax(scores, (24, 36), (31, 50)), expected)


def test_argmax_worked_by_hand() -> None:
    # Points at x = 2 and 6; channel 0 wins the first by 3, channel 1 the second by 1: the border
    # is three quarters of the way, at x = 5.
    logits = torch.tensor([[[3.0, 0.0]], [[0.0, 1.0]]])
    actual = upsampled_argmax(logits, (4, 8), (4, 8))
    assert actual.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1]] * 4
    doubled = upsampled_argmax(logits, (4, 8), (8, 16))
    assert doubled.tolist() == [[0] * 10 + [1] * 6] * 8


def test_argmax_of_one_channel_and_of_ties() -> None:
    assert not upsampled_argmax(torch.randn(1, 3, 5), (12, 20), (12, 20)).any()
    assert not upsampled_argmax(torch.zeros(3, 3, 5), (12, 20), (30, 7)).any()


def test_argmax_of_one_point() -> None:
    logits = torch.tensor([1.0, 3.0, 2.0]).view(3, 1, 1)
    assert (upsampled_argmax(logits, (3, 2), (7, 9)) == 1).all()


@pytest.mark.parametrize("image_size", [(32, 48), (29, 46), (3, 5)])
def test_upsample_logits(image_size: Size) -> None:
    """The logits of the padded frame: upsampled by 4, the padding cut off, then resized."""
    torch.manual_seed(0)
    logits = torch.randn(3, 8, 12)
    same = upsample_logits(logits, image_size, image_size)
    torch.testing.assert_close(same, _full(logits, image_size))
    other = upsample_logits(logits, image_size, (20, 31))
    expected = F.interpolate(
        _full(logits, image_size)[None], size=(20, 31), mode="bilinear", align_corners=False
    )[0]
    torch.testing.assert_close(other, expected)


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
                masks[k, y, x] = _bilinear(maps[k], row, column) > 0
    return masks


@pytest.mark.parametrize(
    "image_size, output_size",
    [((32, 48), (32, 48)), ((30, 45), (30, 45)), ((32, 48), (50, 40)), ((30, 45), (13, 70))],
)
def test_masks_equal_a_full_sampling(image_size: Size, output_size: Size) -> None:
    torch.manual_seed(0)
    maps = _smooth(5, *stride4_size(image_size), 3)
    instances = _instances(maps, image_size, [0, 1, 2, 3, 7])
    expected = _reference_masks(maps, image_size, output_size)
    result = instances_to_output(instances, output_size, STREET)
    assert result.image_size == output_size and len(result) == 5
    assert (result.pred_masks != expected).float().mean() < 1e-3
    for k in range(5):
        rows, columns, mask = output_mask(instances, k, output_size)
        window = torch.zeros(output_size, dtype=torch.bool)
        window[rows, columns] = mask
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


@pytest.mark.parametrize("length, output", [(64, 64), (64, 48), (64, 37), (36, 100), (1008, 672)])
def test_neighbours_of_mirrored_pixels_are_mirrored_to_the_bit(length: int, output: int) -> None:
    points = length // 4
    first, second, weight = _neighbours(length, output, points, torch.device("cpu"))
    position = (torch.arange(output, dtype=torch.float64) + 0.5) * length / output / 4 - 0.5
    found = first + weight.double() * (second - first)
    torch.testing.assert_close(found, position.clamp(0, points - 1), atol=2e-7, rtol=0)
    between = first != second
    assert (weight[~between] == 0).all() and (second - first <= 1).all()
    mirrored = (points - 1 - first).flip(0), (points - 1 - second).flip(0)
    assert torch.equal(mirrored[1], first) and torch.equal(mirrored[0], second)
    assert torch.equal((1 - weight).flip(0)[between], weight[between])
    assert torch.equal(1 - (1 - weight), weight)


@pytest.mark.parametrize("image_size, output_size", [((24, 40), (31, 33)), ((24, 40), (12, 80))])
def test_argmax_of_mirrored_maps_is_mirrored(image_size: Size, output_size: Size) -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, *stride4_size(image_size))
    plain = upsampled_argmax(logits, image_size, output_size)
    mirrored = upsampled_argmax(logits.flip(-1), image_size, output_size)
    assert torch.equal(mirrored.flip(-1), plain)


def test_resampled_maps() -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, 6, 9)
    assert torch.equal(resample(maps, (24, 36), (6, 9)), maps)
    padded = torch.cat([maps, torch.full((3, 6, 2), 99.0)], dim=2)
    sampled = resample(padded[:, :, :9], (22, 34), (50, 31))
    for i, j in ((0, 0), (49, 30), (25, 7), (13, 29)):
        row, column = (i + 0.5) * 22 / 50 / 4 - 0.5, (j + 0.5) * 34 / 31 / 4 - 0.5
        expected = [_bilinear(m, row, column) for m in maps]
        assert sampled[:, i, j].tolist() == pytest.approx(expected, abs=1e-5)
    assert resample(maps[:0], (24, 36), (5, 5)).shape == (0, 5, 5)
