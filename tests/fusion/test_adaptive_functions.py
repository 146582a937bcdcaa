"""The pure functions of the adaptive fusion."""

import math

import pytest
import torch

from effps_solo.fusion.adaptive import (
    fuse_logits,
    fused_votes,
    support_masks,
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


def test_without_overlaps() -> None:
    masks = torch.zeros(5, 2, 4, dtype=torch.bool)
    masks[0, 0] = True
    masks[1, :, :2] = True  # half of it is taken: stays
    masks[2, 0, :3] = True  # all of it is taken
    masks[4] = True  # 6 of 8 points are taken; 3 is empty
    assert without_overlaps(masks, 0.5).tolist() == [0, 1]
    assert without_overlaps(masks, 0.75).tolist() == [0, 1, 4]
    assert without_overlaps(masks, 1.0).tolist() == [0, 1, 2, 4]
    assert without_overlaps(masks, 0.0).tolist() == [0]
    empty = without_overlaps(masks[:0], 0.5)
    assert empty.shape == (0,) and empty.dtype == torch.int64


def test_a_dropped_instance_takes_nothing() -> None:
    """The overlap of a dropped mask does not count against a later one."""
    masks = torch.zeros(3, 1, 8, dtype=torch.bool)
    masks[0, 0, :4] = True
    masks[1, 0, 1:6] = True  # 3 of 5 taken: dropped
    masks[2, 0, 4:6] = True
    assert without_overlaps(masks, 0.5).tolist() == [0, 2]


def test_support_masks() -> None:
    boxes = torch.tensor([[16.0, 20.0, 24.0, 24.0], [0.0, 0.0, 40.0, 40.0]])
    support = support_masks(boxes, (10, 10))
    assert support[1].all()
    rows, columns = support[0].nonzero(as_tuple=True)
    # The box covers the points 4, 5 x 5; every neighbour has a vote, far points have none.
    assert rows.min() <= 4 and rows.max() >= 6 and columns.min() <= 3 and columns.max() >= 6
    assert not support[0, :, 0].any() and not support[0, :, 9].any() and not support[0, 0].any()
    assert support_masks(boxes[:0], (10, 10)).shape == (0, 10, 10)
