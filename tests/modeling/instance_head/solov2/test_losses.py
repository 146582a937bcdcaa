"""Focal and dice losses against their formulas and cases worked out by hand."""

import math
from typing import List, Optional

import pytest
import torch

from effps_solo.modeling.instance_head.solov2.losses import (
    category_focal_loss,
    dice_loss,
    in_chunks,
)


def _focal_loop(logits: torch.Tensor, category: torch.Tensor, alpha: float, gamma: float) -> float:
    total = 0.0
    num_classes = logits.shape[1]
    for cell, label in enumerate(category.tolist()):
        if label == -1:
            continue
        for column in range(num_classes):
            p = 1 / (1 + math.exp(-float(logits[cell, column])))
            if label == column:
                total += -alpha * (1 - p) ** gamma * math.log(p)
            else:
                total += -(1 - alpha) * p**gamma * math.log(1 - p)
    return total


def test_focal_worked_by_hand() -> None:
    # p = 1/2 everywhere. Positive: 0.25 * 0.25 * log 2; negative: 0.75 * 0.25 * log 2.
    logits = torch.zeros(3, 2)
    category = torch.tensor([1, 2, -1])  # one positive, a background, an ignored cell
    expected = (0.0625 + 3 * 0.1875) * math.log(2)
    assert float(category_focal_loss(logits, category)) == pytest.approx(expected)


@pytest.mark.parametrize("alpha, gamma", [(0.25, 2.0), (0.5, 0.0), (0.75, 1.5)])
def test_focal_against_the_formula(alpha: float, gamma: float) -> None:
    torch.manual_seed(0)
    logits, category = 3 * torch.randn(40, 5), torch.randint(-1, 6, (40,))
    expected = _focal_loop(logits, category, alpha, gamma)
    for precise, tolerance in ((logits, 1e-5), (logits.double(), 1e-12)):
        actual = category_focal_loss(precise, category, alpha=alpha, gamma=gamma)
        assert float(actual) == pytest.approx(expected, rel=tolerance)


def test_focal_of_ignored_cells_has_no_gradient() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    category_focal_loss(logits, torch.tensor([-1, 0, 3, -1])).backward()
    assert not logits.grad[[0, 3]].any()
    assert logits.grad[[1, 2]].all()


def test_focal_of_nothing() -> None:
    assert float(category_focal_loss(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))) == 0.0
    assert float(category_focal_loss(torch.randn(5, 3), torch.full((5,), -1))) == 0.0


def test_focal_of_half_precision() -> None:
    logits = torch.full((1, 1), 20.0).bfloat16()
    loss = category_focal_loss(logits, torch.tensor([1]))
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(0.75 * 20, rel=1e-4)


def _dice_loop(logits: torch.Tensor, targets: torch.Tensor, ignore: Optional[torch.Tensor]) -> list:
    losses = []
    for k in range(len(logits)):
        product = p_squared = t_squared = 0.0
        for i in range(logits.shape[1]):
            for j in range(logits.shape[2]):
                if ignore is not None and bool(ignore[i, j]):
                    continue
                p, t = 1 / (1 + math.exp(-float(logits[k, i, j]))), float(targets[k, i, j])
                product, p_squared, t_squared = product + p * t, p_squared + p * p, t_squared + t
        losses.append(1 - 2 * product / ((p_squared + 1e-3) + (t_squared + 1e-3)))
    return losses


def test_dice_worked_by_hand() -> None:
    # Four pixels of p = 1/2, two of them in the object: 1 - 2 * 1 / (1 + 2 + 0.002).
    targets = torch.tensor([[[1, 1], [0, 0]]])
    expected = 1 - 2 / 3.002
    assert float(dice_loss(torch.zeros(1, 2, 2), targets)) == pytest.approx(expected)
    # Without the lower left pixel: p^2 sums to 3/4.
    ignore = torch.tensor([[False, False], [True, False]])
    expected = 1 - 2 / 2.752
    assert float(dice_loss(torch.zeros(1, 2, 2), targets, ignore)) == pytest.approx(expected)
    # Without the upper left one: one pixel of the object is left.
    ignore = torch.tensor([[True, False], [False, False]])
    expected = 1 - 1 / 1.752
    assert float(dice_loss(torch.zeros(1, 2, 2), targets, ignore)) == pytest.approx(expected)


@pytest.mark.parametrize("with_ignore", [False, True])
def test_dice_against_a_loop(with_ignore: bool) -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(6, 5, 7, dtype=torch.float64)
    targets = torch.rand(6, 5, 7) < 0.4
    ignore = torch.rand(5, 7) < 0.3 if with_ignore else None
    actual = dice_loss(logits, targets, ignore)
    assert actual.shape == (6,) and actual.dtype == torch.float64
    assert actual.tolist() == pytest.approx(_dice_loop(logits, targets, ignore))
    per_mask = None if ignore is None else ignore.expand(6, -1, -1)
    assert torch.equal(dice_loss(logits, targets, per_mask), actual)


def test_dice_limits() -> None:
    target = torch.zeros(1, 8, 8, dtype=torch.bool)
    target[:, 2:6, 2:6] = True
    perfect = torch.where(target, 30.0, -30.0)
    assert float(dice_loss(perfect, target)) == pytest.approx(0, abs=1e-4)
    assert float(dice_loss(-perfect, target)) == pytest.approx(1, abs=1e-4)
    assert float(dice_loss(perfect, torch.zeros_like(target))) == pytest.approx(1)


def test_dice_ignored_pixels_have_no_gradient() -> None:
    logits = torch.randn(2, 4, 4, requires_grad=True)
    ignore = torch.rand(4, 4) < 0.5
    dice_loss(logits, torch.rand(2, 4, 4) < 0.5, ignore).sum().backward()
    assert not logits.grad[:, ignore].any()
    assert logits.grad[:, ~ignore].all()


def test_dice_of_nothing() -> None:
    loss = dice_loss(torch.zeros(0, 4, 4), torch.zeros(0, 4, 4, dtype=torch.bool))
    assert loss.shape == (0,)
    everything = torch.ones(4, 4, dtype=torch.bool)
    loss = dice_loss(torch.randn(2, 4, 4), torch.ones(2, 4, 4), everything)
    assert loss.tolist() == [1.0, 1.0]


def test_dice_of_half_precision() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 64, 64), torch.rand(2, 64, 64) < 0.5
    loss = dice_loss(logits.bfloat16(), targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, dice_loss(logits, targets), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    "size, forward, backward",
    [(0, [5], []), (5, [5], []), (9, [5], []), (2, [2, 2, 1], [1, 2, 2])],
)
def test_chunks_are_computed_again_for_their_gradients_only_if_there_are_several(
    size: int, forward: List[int], backward: List[int]
) -> None:
    weights = torch.arange(1.0, 4.0, requires_grad=True)
    cells, objects = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([4, 3, 2, 1, 0])
    calls: List[int] = []

    def loss(cells: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
        calls.append(len(cells))
        return weights[cells].square() * objects

    result = in_chunks(loss, cells, objects, size=size)
    assert result.tolist() == [4.0, 12.0, 18.0, 1.0, 0.0] and calls == forward
    result.sum().backward()
    assert sorted(calls[len(forward) :]) == backward
    assert weights.grad is not None and weights.grad.tolist() == [10.0, 12.0, 12.0]


def test_no_cell_makes_no_chunk() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert in_chunks(lambda cells, objects: cells.float(), none, none, size=2).shape == (0,)


def test_focal_class_weights() -> None:
    """They weigh the positive cells of a class: by hand as above, the second class three times."""
    category = torch.tensor([1, 0, 2, -1])
    expected = ((3 + 1) * 0.0625 + 4 * 0.1875) * math.log(2)
    actual = category_focal_loss(torch.zeros(4, 2), category, class_weights=[1.0, 3.0])
    assert float(actual) == pytest.approx(expected)
