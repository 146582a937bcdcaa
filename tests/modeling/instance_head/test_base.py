"""Stride4Masks: sampling worked by hand, against a loop, and indexing."""

import math
from typing import Tuple

import pytest
import torch
import torch.nn.functional as F
from detectron2.structures import Instances

from effps_solo.modeling.instance_head import Stride4Masks
from effps_solo.modeling.instance_head.base import LayeredMasks
from effps_solo.modeling.mask_layers import MaskLayers


def _sample(mask: torch.Tensor, x: float, y: float) -> float:
    """Bilinear value at pixel (x, y): point (i, j) lies at (4 i + 2, 4 j + 2), borders repeat."""
    height, width = mask.shape
    row = min(max((y - 2) / 4, 0.0), height - 1)
    column = min(max((x - 2) / 4, 0.0), width - 1)
    i, j = int(math.floor(row)), int(math.floor(column))
    k, m = min(i + 1, height - 1), min(j + 1, width - 1)
    a, b = row - i, column - j
    upper = (1 - b) * float(mask[i, j]) + b * float(mask[i, m])
    lower = (1 - b) * float(mask[k, j]) + b * float(mask[k, m])
    return (1 - a) * upper + a * lower


def test_worked_by_hand() -> None:
    source = Stride4Masks(torch.tensor([[[0.0, 4.0], [8.0, 12.0]], [[1.0, 1.0], [1.0, 1.0]]]))
    # The middle of the 8 x 8 frame is the mean of the four points.
    torch.testing.assert_close(source.logits(0, (0, 0, 8, 8), (1, 1)), torch.tensor([[6.0]]))
    # 2 x 2 cells of 4 px: the points themselves.
    torch.testing.assert_close(source.logits(0, (0, 0, 8, 8), (2, 2)), source.maps[0])
    # The four pixels around the point (2, 2), whose centres are half a pixel away from it.
    window = source.logits(0, (1, 1, 3, 3), (2, 2))
    expected = torch.tensor([[0.0, 0.5], [1.0, 1.5]])  # left and above the border is repeated
    torch.testing.assert_close(window, expected)
    # A window may reach out of the frame.
    torch.testing.assert_close(source.logits(0, (-8, -8, 0, 0), (1, 1)), torch.tensor([[0.0]]))
    torch.testing.assert_close(source.logits(0, (8, 8, 20, 20), (1, 1)), torch.tensor([[12.0]]))
    torch.testing.assert_close(source.logits(1, (3, 1, 5, 7), (3, 2)), torch.ones(3, 2))


@pytest.mark.parametrize(
    "window, size",
    [
        ((0.0, 0.0, 28.0, 20.0), (20, 28)),
        ((3.0, 5.0, 17.0, 11.0), (6, 14)),
        ((2.5, -3.0, 30.0, 24.0), (9, 4)),
        ((6.25, 7.75, 8.0, 9.5), (7, 5)),
    ],
)
def test_against_a_loop(window: Tuple[float, ...], size: Tuple[int, int]) -> None:
    torch.manual_seed(0)
    source = Stride4Masks(torch.randn(2, 5, 7))
    actual = source.logits(1, window, size)
    assert actual.shape == size
    x0, y0, x1, y1 = window
    for row in range(size[0]):
        for column in range(size[1]):
            x = x0 + (column + 0.5) * (x1 - x0) / size[1]
            y = y0 + (row + 0.5) * (y1 - y0) / size[0]
            assert float(actual[row, column]) == pytest.approx(
                _sample(source.maps[1], x, y), abs=1e-4
            )


def test_whole_frame_equals_interpolate() -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, 6, 9)
    full = F.interpolate(maps[None], scale_factor=4, mode="bilinear", align_corners=False)[0]
    source = Stride4Masks(maps)
    for k in range(3):
        actual = source.logits(k, (0, 0, 36, 24), (24, 36))
        torch.testing.assert_close(actual, full[k], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(source.frame_logits((24, 36), (24, 36)), full, rtol=1e-4, atol=1e-5)
    part = source.frame_logits((22, 33), (11, 50))
    expected = torch.stack([source.logits(k, (0, 0, 33, 22), (11, 50)) for k in range(3)])
    torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-5)
    assert source[:0].frame_logits((24, 36), (5, 7)).shape == (0, 5, 7)


def test_half_precision_maps_give_float_logits() -> None:
    source = Stride4Masks(torch.randn(1, 4, 4).bfloat16())
    assert source.logits(0, (0, 0, 16, 16), (4, 4)).dtype == torch.float32


def test_stride4_logits_crop() -> None:
    maps = torch.arange(24.0).view(1, 4, 6)
    assert torch.equal(Stride4Masks(maps).stride4_logits((4, 6)), maps)
    assert torch.equal(Stride4Masks(maps).stride4_logits((3, 5)), maps[:, :3, :5])


def test_indexing() -> None:
    source = Stride4Masks(torch.arange(3.0)[:, None, None].expand(3, 2, 2))

    def values(picked: Stride4Masks) -> list:
        return [float(m[0, 0]) for m in picked.maps]

    assert len(source) == 3
    assert values(source[torch.tensor([2, 0, 2])]) == [2.0, 0.0, 2.0]
    assert values(source[torch.tensor([True, False, True])]) == [0.0, 2.0]
    assert values(source[1:]) == [1.0, 2.0]
    assert len(source[torch.zeros(0, dtype=torch.int64)]) == 0
    assert len(source[torch.zeros(3, dtype=torch.bool)]) == 0


def test_layers_make_the_maps() -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, 40, 50)
    layered = LayeredMasks(MaskLayers.whole(maps))
    assert len(layered) == 3 and torch.equal(layered.stride4_logits((40, 50)), maps)
    assert layered.stride4_layers((40, 50), torch.zeros(3, 4)) is layered.layers
    window = (3.0, 5.0, 90.0, 70.0)
    expected = Stride4Masks(maps)
    assert torch.equal(layered.logits(1, window, (7, 9)), expected.logits(1, window, (7, 9)))
    assert torch.equal(
        layered.frame_logits((160, 200), (20, 30)), expected.frame_logits((160, 200), (20, 30))
    )
    assert torch.equal(layered[torch.tensor([0, 2])].maps, maps[[0, 2]])
    assert torch.equal(layered.to("cpu").maps, maps)


def test_is_a_field_of_instances() -> None:
    instances = Instances((8, 8))
    instances.scores = torch.tensor([0.1, 0.2, 0.3])
    instances.mask_source = Stride4Masks(torch.arange(3.0)[:, None, None].expand(3, 2, 2))
    picked = instances[torch.tensor([2, 1])].to("cpu")
    assert [float(m[0, 0]) for m in picked.mask_source.maps] == [2.0, 1.0]
    last = instances[2]
    assert len(last) == 1 and float(last.mask_source.maps[0, 0, 0]) == 2.0
    empty = instances[instances.scores > 1]
    assert len(empty) == 0 and empty.mask_source.stride4_logits((2, 2)).shape == (0, 2, 2)
