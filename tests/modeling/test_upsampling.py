"""The way from stride-4 maps to the frame of the output, against full-resolution references."""

import math
from typing import Any, Callable, List, Tuple

import pytest
import torch
import torch.nn.functional as F

from effps_solo.modeling import upsampling
from effps_solo.modeling.upsampling import (
    BlockSampler,
    _neighbours,
    best_channel,
    resample,
    stride4_size,
    upsample_logits,
    upsampled_argmax,
    upsampled_labels,
)
from tests.modeling.bilinear import bilinear

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
            best = max(bilinear(logits[c], row, column) for c in rivals[i][j])
            assert bilinear(logits[actual[i, j]], row, column) >= best - 1e-5
            if len(rivals[i][j]) == 1:
                assert {int(actual[i, j])} == rivals[i][j]


@pytest.mark.parametrize("chunk", [1, 7, 10**6])
def test_argmax_in_chunks(
    chunk: int, monkeypatch: pytest.MonkeyPatch, all_at_once: Callable[[], Any]
) -> None:
    scores = torch.randn(5, 6, 9)
    expected = upsampled_argmax(scores, (24, 36), (31, 50))
    monkeypatch.setattr(upsampling, "CONTESTED_CHUNK", chunk)
    assert torch.equal(upsampled_argmax(scores, (24, 36), (31, 50)), expected)
    with all_at_once():
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
        expected = [bilinear(m, row, column) for m in maps]
        assert sampled[:, i, j].tolist() == pytest.approx(expected, abs=1e-5)
    assert resample(maps[:0], (24, 36), (5, 5)).shape == (0, 5, 5)


@pytest.mark.parametrize(
    "image_size, output_size",
    [((24, 40), (24, 40)), ((22, 37), (22, 37)), ((24, 40), (50, 33)), ((24, 40), (3, 7))],
)
@pytest.mark.parametrize("seed", range(2))
def test_each_pixel_is_counted_once(image_size: Size, output_size: Size, seed: int) -> None:
    """Also of blocks with fewer pixels than others, or with none."""
    torch.manual_seed(seed)
    winner = torch.randint(5, stride4_size(image_size))
    labels = upsampled_labels(
        winner, image_size, output_size, lambda s: best_channel(winner, s, _drawn)
    )
    assert labels.counts(5).tolist() == [int((labels.map() == k).sum()) for k in range(5)]
    assert torch.equal(labels.numbered(torch.arange(5)), labels.map())
    uniform = upsampled_labels(torch.full_like(winner, 3), image_size, output_size, _never)
    assert not uniform.contested.any() and (uniform.map() == 3).all()
    assert uniform.counts(5).tolist() == [0, 0, 0, output_size[0] * output_size[1], 0]


def _drawn(channels: torch.Tensor, sample: BlockSampler) -> torch.Tensor:
    """Scores that differ from pixel to pixel: the larger ones win in either half."""
    scores = torch.where(sample.wx[1] > 0.5, channels[:, None], -channels[:, None])
    return scores[:, None].expand(-1, sample.wy.shape[1], -1, -1)


def _never(sample: BlockSampler) -> torch.Tensor:
    assert sample.corners.shape[1] == 0
    return sample.wx.new_zeros(sample.wy.shape[1], sample.wx.shape[1], 0)
