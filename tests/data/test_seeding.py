"""Random numbers by key."""

import random
from typing import Tuple

import numpy as np
import pytest
import torch

from effps_solo.data.seeding import seed_all, seeded

Draw = Tuple[float, float, float]


def draw() -> Draw:
    return random.random(), float(np.random.uniform()), float(torch.rand(()))


def test_a_key_gives_the_same_numbers_whatever_ran_before() -> None:
    seed_all(3, 14)
    first = draw()
    draw()
    seed_all(3, 14)
    assert draw() == first


def test_different_keys_give_different_numbers() -> None:
    drawn = []
    for key in ((0,), (0, 0), (0, 0, 0), (1,), (1, 0), (0, 1), (1, 1), (2**31, 7), (7, 2**31)):
        seed_all(*key)
        drawn.append(draw())
    for column in zip(*drawn):
        assert len(set(column)) == len(column)


def test_neighbouring_keys_are_not_correlated() -> None:
    values = []
    for position in range(2000):
        with seeded(1, position):
            values.append(draw())
    for column in np.array(values).T:
        assert column.mean() == pytest.approx(0.5, abs=0.03)
        assert abs(np.corrcoef(column[:-1], column[1:])[0, 1]) < 0.08


def test_after_the_context_all_is_as_before() -> None:
    seed_all(1)
    expected = [draw(), draw()]
    seed_all(1)
    first = draw()
    with pytest.raises(KeyError), seeded(2, 3):
        inside = draw()
        raise KeyError
    assert [first, draw()] == expected and inside not in expected
    seed_all(2, 3)
    assert draw() == inside
