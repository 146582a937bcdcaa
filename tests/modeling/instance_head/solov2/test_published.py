"""The masks of the published head; its decoding is in test_parity.py."""

import math
from typing import List

import pytest
import torch

from effps_solo.modeling.instance_head.solov2.published import PublishedMasks


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_probabilities_are_interpolated_twice() -> None:
    """By hand: points at 2 and 6 of eight pixels, between which four pixels mix them by eighths."""
    source = PublishedMasks(torch.tensor([[[8.0, -0.5]], [[-8.0, 8.0]]]), (4, 8))
    a, b = _sigmoid(8.0), _sigmoid(-0.5)
    frame = [a, a, *(a + (b - a) * k / 8 for k in (1, 3, 5, 7)), b, b]
    halved = [(frame[2 * i] + frame[2 * i + 1]) / 2 for i in range(4)]
    for expected in (frame, halved):
        size = (4, len(expected))
        of_frame = source.frame_logits((4, 8), size)[0].sigmoid()
        for row in of_frame.tolist():
            assert row == pytest.approx(expected, abs=1e-6)
    # Between a sure point and one just outside: inside by the probabilities, not by a mean of logits.
    assert (
        source.logits(0, (4, 0, 8, 4), (2, 2)).sigmoid().tolist()
        == [pytest.approx(halved[2:], abs=1e-6)] * 2
    )


@pytest.mark.parametrize("start, stop", [(0, 50), (7, 8), (13, 50)])
def test_a_window_is_cut_from_the_frame(start: int, stop: int) -> None:
    torch.manual_seed(0)
    source = PublishedMasks(torch.randn(3, 6, 9), (22, 33))
    whole = source.frame_logits((22, 33), (11, 50))
    scale = 50 / 33
    window = (start / scale, 2.0, stop / scale, 20.0)
    for k in range(3):
        part = source.logits(k, window, (9, stop - start))
        torch.testing.assert_close(part, whole[k, 1:10, start:stop], rtol=1e-4, atol=1e-5)


def test_some_masks_and_none() -> None:
    maps = torch.randn(3, 4, 6)
    source = PublishedMasks(maps, (16, 24))
    chosen: List[PublishedMasks] = [source[torch.tensor([2])], source[2:].to("cpu")]
    for some in chosen:
        assert torch.equal(some.stride4_logits((3, 5)), maps[2:, :3, :5])
        assert torch.equal(
            some.frame_logits((16, 24), (7, 5)), source.frame_logits((16, 24), (7, 5))[2:]
        )
    assert source[:0].frame_logits((16, 24), (7, 5)).shape == (0, 7, 5)


def test_a_sure_mask_stays_inside() -> None:
    """Probabilities of 1 add up to 1, with whatever rounding."""
    source = PublishedMasks(torch.full((1, 9, 9), 100.0).bfloat16(), (33, 33))
    logits = source.frame_logits((33, 33), (50, 20))
    assert logits.dtype == torch.float32 and (logits > 10).all()
