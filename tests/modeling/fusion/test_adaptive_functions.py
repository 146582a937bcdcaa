"""The pure functions of the adaptive fusion."""

import math

import pytest
import torch

from effps_solo.modeling.fusion.adaptive import (
    fuse_logits,
    fused_votes,
    support_windows,
    without_overlaps,
)


def test_fuse_logits() -> None:
    a, b = torch.tensor([[[0.0, 2.0, -3.0]]]), torch.tensor([[[0.0, -1.0, 1.0]]])
    expected = []
    for x, y in ((0.0, 0.0), (2.0, -1.0), (-3.0, 1.0)):
        expected.append((1 / (1 + math.exp(-x)) + 1 / (1 + math.exp(-y))) * (x + y))
    assert fuse_logits(a, b).flatten().tolist() == pytest.approx(expected)
    assert fuse_logits(a[:0], b[:0]).shape == (0, 1, 3)


def test_votes_are_the_published_ones_where_they_agree_on_yes() -> None:
    torch.manual_seed(0)
    a, b = 6 * torch.randn(2, 50, 4, 4)
    yes = a + b >= 0
    votes = fused_votes(a, b)
    assert torch.equal(votes[yes], fuse_logits(a, b)[yes])
    assert torch.allclose(votes, -fused_votes(-a, -b))  # odd, hence continuous at 0
    # Two sure "no": the published vote is -20 * 2 sigmoid(-10) = -0.0018.
    sure = torch.full((1, 1, 1), -10.0)
    assert float(fused_votes(sure, sure)) == pytest.approx(-40, rel=1e-3)


def _kept(masks: torch.Tensor, threshold: float) -> torch.Tensor:
    """Of bool masks in order, with windows that cover everything."""
    everywhere = [(slice(0, masks.shape[1]), slice(0, masks.shape[2]))] * len(masks)
    order = torch.arange(len(masks))
    return without_overlaps(masks.float() - 0.5, everywhere, order, threshold)


def test_without_overlaps() -> None:
    masks = torch.zeros(5, 2, 4, dtype=torch.bool)
    masks[0, 0] = True
    masks[1, :, :2] = True  # half of it is taken: stays
    masks[2, 0, :3] = True  # all of it is taken
    masks[4] = True  # 6 of 8 points are taken; 3 is empty
    assert _kept(masks, 0.5).tolist() == [0, 1]
    assert _kept(masks, 0.75).tolist() == [0, 1, 4]
    assert _kept(masks, 1.0).tolist() == [0, 1, 2, 4]
    assert _kept(masks, 0.0).tolist() == [0]
    empty = _kept(masks[:0], 0.5)
    assert empty.shape == (0,) and empty.dtype == torch.int64


def test_a_dropped_instance_takes_nothing() -> None:
    """The overlap of a dropped mask does not count against a later one."""
    masks = torch.zeros(3, 1, 8, dtype=torch.bool)
    masks[0, 0, :4] = True
    masks[1, 0, 1:6] = True  # 3 of 5 taken: dropped
    masks[2, 0, 4:6] = True
    assert _kept(masks, 0.5).tolist() == [0, 2]


def test_support_windows() -> None:
    boxes = torch.tensor(
        [[16.0, 20.0, 24.0, 24.0], [0.0, 0.0, 40.0, 40.0], [-9.0, 60.0, -8.0, 70.0]]
    )
    near, everything, beyond = support_windows(boxes, (10, 10))
    assert everything == (slice(0, 10), slice(0, 10))
    # The box covers the points 4, 5 x 5; every neighbour has a vote, far points have none.
    assert near == (slice(4, 7), slice(3, 7))
    assert torch.zeros(10, 10)[beyond].numel() == 0
    assert support_windows(boxes[:0], (10, 10)) == []
