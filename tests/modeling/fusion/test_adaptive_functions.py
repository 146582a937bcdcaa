"""The pure functions of the adaptive fusion."""

import math

import pytest
import torch

from effps_solo.modeling.fusion.adaptive import Votes, fuse_logits, fused_votes, winning_channel
from effps_solo.modeling.fusion.overlaps import supports
from effps_solo.modeling.mask_layers import MaskLayers


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
def test_the_winner_of_each_point(num_instances: int) -> None:
    """Against one vote after the other."""
    torch.manual_seed(0)
    semantic, maps = 3 * torch.randn(5, 42, 46), 4 * torch.randn(num_instances, 42, 46)
    corners = 180 * torch.rand(num_instances, 2) - 8
    boxes = torch.cat([corners, corners + 4 + 90 * torch.rand(num_instances, 2)], dim=1)
    votes = Votes(
        rivals=semantic[:2],
        masks=MaskLayers.of_maps(maps, supports(boxes)),
        scale=2.0,
        semantic_logits=semantic,
        class_of_unclaimed=semantic.argmax(dim=0),
        classes=torch.randint(2, 5, (num_instances,)),
        supports=supports(boxes),
    )
    kept = torch.arange(num_instances) != 4
    winner = winning_channel(votes, kept)
    assert winner.shape == (42, 46) and winner.dtype == torch.int64
    for y, x in torch.cartesian_prod(torch.arange(42), torch.arange(46)).tolist():
        of_point = semantic[:2, y, x].tolist()
        for k, (x0, y0, x1, y1) in enumerate(supports(boxes).tolist()):
            vote = fused_votes(2 * maps[k, y, x], semantic[int(votes.classes[k]), y, x])
            inside = x0 <= x < x1 and y0 <= y < y1
            of_point.append(float(vote) if inside and kept[k] else -math.inf)
        assert of_point[int(winner[y, x])] == pytest.approx(max(of_point), rel=1e-5)
    assert (winner >= 2).any() == bool(num_instances) and not (winner == 2 + 4).any()


def test_the_first_of_equal_votes_wins() -> None:
    """Two equal instances over stuff that is worse on the left, and equal on the right."""
    vote = float(fused_votes(torch.tensor(1.0), torch.tensor(0.0)))
    votes = Votes(
        rivals=torch.tensor([[[vote - 1, vote]]]),
        masks=MaskLayers.whole(torch.ones(2, 1, 2)),
        scale=1.0,
        semantic_logits=torch.zeros(2, 1, 2),
        class_of_unclaimed=torch.zeros(1, 2, dtype=torch.int64),
        classes=torch.ones(2, dtype=torch.int64),
        supports=torch.tensor([[0.0, 0.0, 2.0, 1.0]] * 2),
    )
    kept = torch.ones(2, dtype=torch.bool)
    assert winning_channel(votes, kept).tolist() == [[1, 0]]
