"""The pure functions of the adaptive fusion."""

import math
from typing import Any, Callable

import pytest
import torch

from effps_solo.modeling.fusion.adaptive import Votes, fuse_logits, fused_votes, winning_channel


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


@pytest.mark.parametrize("num_instances", [0, 1, 9])
def test_the_winner_of_each_point_in_both_forms(
    all_at_once: Callable[[], Any], num_instances: int
) -> None:
    torch.manual_seed(0)
    semantic = 3 * torch.randn(5, 12, 16)
    corners = 60 * torch.rand(num_instances, 2) - 8
    votes = Votes(
        rivals=semantic[:2],
        mask_logits=4 * torch.randn(num_instances, 12, 16),
        scale=2.0,
        semantic_logits=semantic,
        class_of_unclaimed=semantic.argmax(dim=0),
        rows=torch.arange(num_instances),
        classes=torch.randint(2, 5, (num_instances,)),
        boxes=torch.cat([corners, corners + 4 + 30 * torch.rand(num_instances, 2)], dim=1),
    )
    kept = torch.arange(num_instances) != 4
    winner = winning_channel(votes, kept)
    with all_at_once():
        assert torch.equal(winning_channel(votes, kept), winner)
    assert winner.shape == (12, 16) and winner.dtype == torch.int64
    assert set(winner.unique().tolist()) <= {0, 1} | {2 + k for k in range(num_instances) if k != 4}
    assert (winner >= 2).any() == bool(num_instances)


def test_the_first_of_equal_votes_wins(all_at_once: Callable[[], Any]) -> None:
    """Two equal instances over stuff that is worse on the left, and equal on the right."""
    vote = float(fused_votes(torch.tensor(1.0), torch.tensor(0.0)))
    votes = Votes(
        rivals=torch.tensor([[[vote - 1, vote]]]),
        mask_logits=torch.ones(2, 1, 2),
        scale=1.0,
        semantic_logits=torch.zeros(2, 1, 2),
        class_of_unclaimed=torch.zeros(1, 2, dtype=torch.int64),
        rows=torch.arange(2),
        classes=torch.ones(2, dtype=torch.int64),
        boxes=torch.tensor([[0.0, 0.0, 8.0, 4.0]] * 2),
    )
    kept = torch.ones(2, dtype=torch.bool)
    assert winning_channel(votes, kept).tolist() == [[1, 0]]
    with all_at_once():
        assert winning_channel(votes, kept).tolist() == [[1, 0]]
