"""Boundary IoU against bands worked out by hand and pixel by pixel."""

import math
from dataclasses import replace
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest

from effps_solo.evaluation.boundary import (
    add_boundary_ious,
    band_width,
    boundary,
    boundary_scores,
)
from effps_solo.evaluation.matching import ImageSegments, Pair, match_segments
from effps_solo.structures.classes import PanopticClass

CAR, ROAD = 3, 21
CLASSES = (
    PanopticClass("car", True, CAR, (0, 0, 0)),
    PanopticClass("road", False, ROAD, (1, 1, 1)),
)


def _info(ids: np.ndarray) -> List[Dict[str, Any]]:
    """Odd ids are cars, even ones road."""
    return [
        {
            "id": int(k),
            "category_id": CAR if k % 2 else ROAD,
            "area": int((ids == k).sum()),
            "iscrowd": 0,
        }
        for k in np.unique(ids)
        if k
    ]


def _segments(true: np.ndarray, predicted: np.ndarray, ratio: float) -> ImageSegments:
    found = match_segments(true, _info(true), predicted, _info(predicted))
    return add_boundary_ious(found, true, predicted, ratio)


def _slow_band(mask: np.ndarray, width: int) -> np.ndarray:
    height, length = mask.shape
    band = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        for v in range(y - width, y + width + 1):
            for u in range(x - width, x + width + 1):
                inside = 0 <= v < height and 0 <= u < length
                band[y, x] |= not inside or not mask[v, u]
    return band


def _slow_iou(true: np.ndarray, predicted: np.ndarray, pair: Pair, width: int) -> float:
    prediction = (predicted == pair.prediction) & (true != 0)
    first, second = _slow_band(true == pair.truth, width), _slow_band(prediction, width)
    return float((first & second).sum() / (first | second).sum())


def test_width() -> None:
    assert band_width(480, 640, 0.02) == 16  # of a diagonal of 800
    assert band_width(3, 4, 0.02) == 1


def test_the_band_of_a_square() -> None:
    mask = np.zeros((9, 9), dtype=bool)
    mask[1:8, 1:8] = True
    for width, inner in ((1, 5), (2, 3), (3, 1), (4, 0)):
        assert boundary(mask, width).sum() == 49 - inner**2
    # The border of the image is a contour.
    assert boundary(np.ones((5, 5), dtype=bool), 1).sum() == 25 - 9


def test_a_border_that_is_off_by_one_costs_more_than_the_area_says() -> None:
    """20x20 against 22x22: IoU 400 / 484; bands of one pixel, 76 and 84 long, that do not touch."""
    true, predicted = np.zeros((2, 40, 40), dtype=int)
    true[10:30, 10:30] = predicted[9:31, 9:31] = 1
    true[true == 0] = predicted[predicted == 0] = 2
    segments = _segments(true, predicted, 1 / 57)  # a diagonal of 56.6
    car = segments.pairs[0]
    assert (car.iou, car.boundary_iou) == (400 / 484, 0.0)
    wide = _segments(true, predicted, 2 / 57).pairs[0]  # bands of two pixels share one, 76 long
    assert wide.boundary_iou == 76 / (144 + 160 - 76)
    scores = boundary_scores([segments], CLASSES)
    assert scores[CAR] == {"boundary_pq": 0.0, "boundary_iou": 0.0}
    # Two of the three bands of the road, its outer one, agree.
    outer = 4 * 39
    assert scores[ROAD]["boundary_iou"] == pytest.approx(100 * outer / (outer + 84 + 92))
    assert scores[ROAD]["boundary_pq"] == 0.0  # below one half


@pytest.mark.parametrize("seed", range(4))
def test_against_a_slow_statement(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = np.kron(rng.integers(0, 4, (4, 5)), np.ones((7, 6), dtype=int))
    predicted = np.roll(true, rng.integers(-2, 3, 2), (0, 1))
    segments = _segments(true, predicted, 0.05)
    width = band_width(*true.shape, 0.05)
    assert len(segments.pairs) >= 2
    for pair in segments.pairs:
        assert pair.boundary_iou == _slow_iou(true, predicted, pair, width)
        assert _slow_iou(true, predicted, pair, 100) == pytest.approx(
            replace(pair, iou=_mask_iou(true, predicted, pair)).iou
        )


def _mask_iou(true: np.ndarray, predicted: np.ndarray, pair: Pair) -> float:
    first, second = true == pair.truth, (predicted == pair.prediction) & (true != 0)
    return float((first & second).sum() / (first | second).sum())


def test_void_around_an_object_is_no_part_of_the_prediction() -> None:
    true, predicted = np.zeros((2, 30, 30), dtype=int)
    true[10:20, 10:20] = 1
    predicted[8:21, 8:21] = 1
    assert [p.boundary_iou for p in _segments(true, predicted, 0.05).pairs] == [1.0]


def test_a_match_that_is_too_blurred_is_false_and_missed() -> None:
    def segments(*ious: Tuple[float, float]) -> ImageSegments:
        true = np.arange(1, 2 * len(ious), 2)[None]
        found = match_segments(true, _info(true), true, _info(true))
        pairs = zip(found.pairs, ious)
        return replace(found, pairs=tuple(replace(p, iou=a, boundary_iou=b) for p, (a, b) in pairs))

    scores = boundary_scores([segments((0.9, 0.7), (0.8, 0.5)), segments((0.6, 0.9))], CLASSES)
    # Two true positives of 0.7 and 0.6, one false, one missed.
    assert scores[CAR]["boundary_pq"] == pytest.approx(100 * 1.3 / 3)
    assert scores[CAR]["boundary_iou"] == pytest.approx(100 * (0.7 + 0.5 + 0.9) / 3)
    assert all(math.isnan(value) for value in scores[ROAD].values())


def test_without_segments() -> None:
    empty = np.zeros((4, 4), dtype=int)
    assert _segments(empty, empty, 0.02) == ImageSegments((), (), ())
    assert all(math.isnan(v) for s in boundary_scores([], CLASSES).values() for v in s.values())


def test_pairs_that_were_not_measured() -> None:
    true = np.ones((4, 4), dtype=int)
    with pytest.raises(ValueError, match="not measured"):
        boundary_scores([match_segments(true, _info(true), true, _info(true))], CLASSES)
