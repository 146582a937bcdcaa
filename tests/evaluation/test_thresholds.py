"""From counts to thresholds, by hand."""

from typing import Sequence, Tuple

import numpy as np
import pytest

from effps_solo.evaluation.thresholds import (
    Axis,
    ThresholdGrid,
    best,
    best_or_current,
    cross_validated_gain,
    tune,
)
from effps_solo.modeling.outputs import FusionThresholds
from effps_solo.structures.classes import PanopticClass

CAR = PanopticClass("car", True, 26, (0, 0, 142))
SKY = PanopticClass("sky", False, 23, (70, 130, 180))
# tp, fp, fn, iou and their PQ.
Row = Tuple[float, float, float, float]
PQ_40, PQ_80, PQ_0 = (1, 2, 0, 0.8), (1, 0, 0, 0.8), (0, 0, 1, 0.0)


def grid_of(scores: Sequence[float], current: int) -> ThresholdGrid:
    axes = (Axis("score", tuple(scores)), Axis("overlap", (0.5,)), Axis("stuff_area", (0.0,)))
    return ThresholdGrid(axes, (current, 0, 0))


def counts_of(parts: Sequence[Sequence[Row]]) -> np.ndarray:
    """(G, S, 1, 1, 1, 4) of one class."""
    return np.array(parts, dtype=float)[:, :, None, None, None]


def test_a_better_threshold_is_found() -> None:
    counts = counts_of([[PQ_40, PQ_80, PQ_0]] * 6)
    found = tune(counts, 6, grid_of([0.2, 0.5, 0.8], current=0), [CAR], "model.pth")
    assert found.current.score == 0.2 and found.chosen.score == 0.5
    assert (found.pq_current, found.pq_chosen) == pytest.approx((40, 80))
    assert (found.gain, found.gain_error) == pytest.approx((40, 0))
    assert found.gains_of_halves == pytest.approx((40, 40))
    (curve,) = found.curves
    assert (curve.key, curve.values) == ("SCORE_THRESH", [0.2, 0.5, 0.8])
    assert curve.pq == curve.pq_things == pytest.approx([40, 80, 0])
    assert curve.pq_stuff == [None] * 3
    assert found.rows()[0] == ("SCORE_THRESH", 0.2, 0.5)
    assert "+40.00" in " ".join(found.sentences())


def test_the_nearest_of_those_that_are_as_good() -> None:
    """0.5 is a little better than 0.4 on one half of the images and a little worse on the other."""
    little = [(10, 0, 0, 7.9), (10, 0, 0, 8.2)]
    parts = [[(10, 20, 0, 8), (10, 0, 0, 8), little[g % 2], (10, 20, 0, 8)] for g in range(6)]
    grid = grid_of([0.2, 0.4, 0.5, 0.8], current=0)
    # By hand: the best PQ is that of 0.5, 80.5 against 80; the standard error of that is
    # sqrt(6 * 1.5^2 / (6 * 5)) = 0.67.
    assert grid.at(best(counts_of(parts), grid)).score == 0.4
    assert best(counts_of(parts[1::2]), grid) == (2, 0, 0)  # no doubt there


def test_the_standard_error_by_hand() -> None:
    """The jackknife of a mean is its usual error, the deviation over the root of the number."""
    ious = [0.6, 0.7, 0.9, 0.8, 0.65]
    parts = [[(1, 0, 0, 0.6), (1, 0, 0, iou)] for iou in ious]
    gain, error = cross_validated_gain(counts_of(parts), grid_of([0.2, 0.5], current=0))
    assert gain == pytest.approx(100 * np.mean(ious) - 60)
    assert error == pytest.approx(100 * np.std(ious, ddof=1) / np.sqrt(5))


def test_what_chance_chose_is_not_taken() -> None:
    """Each threshold is the best on one image alone, by far, and bad on the others."""
    parts = [[PQ_40] + [PQ_80 if s == g else PQ_0 for s in range(5)] for g in range(5)]
    grid = grid_of([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], current=0)
    assert best_or_current(counts_of(parts), grid) == grid.current


def test_a_gain_below_its_standard_error_is_not_taken() -> None:
    """+20 on four images and -50 on the fifth: +6 in the mean, with an error of 14."""
    parts = [[(1, 0, 0, 0.6), (1, 0, 0, 0.8 if g else 0.1)] for g in range(5)]
    grid = grid_of([0.2, 0.5], current=0)
    assert best_or_current(counts_of(parts), grid) == grid.current


def test_no_better_one_and_no_class_at_all() -> None:
    grid = grid_of([0.2, 0.5, 0.8], current=1)
    for rows in ([PQ_40, PQ_80, PQ_0], [PQ_80] * 3, [(0, 0, 0, 0)] * 3):
        found = tune(counts_of([rows] * 10), 30, grid, [CAR])
        assert found.chosen == found.current and found.gain == 0
        assert "those of the config stay" in found.sentences()[0]


@pytest.mark.parametrize("num_images", [0, 1, 4])
def test_too_few_images(num_images: int) -> None:
    counts = counts_of([[PQ_40, PQ_80]] * num_images + [[(0, 0, 0, 0)] * 2] * (10 - num_images))
    found = tune(counts, num_images, grid_of([0.2, 0.5], current=0), [CAR])
    assert found.chosen == found.current and found.gain is None
    assert found.gains_of_halves == ()
    assert found.sentences()[0].startswith(f"{num_images} images are too few")


def test_parts_without_an_image_do_not_count() -> None:
    rows = [[(1, 0, 0, 0.6), (1, 0, 0, iou)] for iou in (0.6, 0.7, 0.9, 0.8, 0.65)]
    grid = grid_of([0.2, 0.5], current=0)
    few = tune(counts_of(rows), 5, grid, [CAR])
    assert few == tune(counts_of(rows + [[(0, 0, 0, 0)] * 2] * 5), 5, grid, [CAR])


def test_the_candidates() -> None:
    current = FusionThresholds(0.33, 0.5, 0.002)
    grid = ThresholdGrid.around(current, [CAR, SKY])
    assert grid.at(grid.current) == current
    assert all(list(axis.values) == sorted(set(axis.values)) for axis in grid.axes)
    assert {0.1, 0.33, 0.9} < set(grid.axes[0].values)
    assert ThresholdGrid.around(current, [CAR]).shape == (*grid.shape[:2], 1)
    assert ThresholdGrid.around(current, [SKY]).shape == (1, 1, grid.shape[2])
    steps = grid.steps()
    assert steps.shape == grid.shape and steps[grid.current] == 0
    s, o, a = grid.current
    assert steps[s + 1, o - 1, a] == 2


def test_classes_without_truth_choose_nothing() -> None:
    """A class that only false segments have lowers PQ, and a threshold without them doubles it here.

    It is worse for the class that does occur: on images without false ones it would lose.
    """
    both = [[PQ_80, (0, 1, 0, 0)], [PQ_40, (0, 0, 0, 0)]]
    counts = np.array([both] * 5, dtype=float)[:, :, None, None]
    grid = grid_of([0.2, 0.5], current=0)
    found = tune(counts, 5, grid, [CAR, SKY])
    assert found.chosen == found.current
    assert (found.pq_current, found.pq_chosen) == pytest.approx((40, 40))  # as evaluations have it
    assert found.curves[0].pq == pytest.approx([40, 40])
    assert (found.gain, *found.gains_of_halves) == (0, 0, 0)
