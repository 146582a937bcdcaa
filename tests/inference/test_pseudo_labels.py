"""Unsure segments become void."""

import numpy as np
import pytest

from effps_solo.inference.pseudo_labels import unsure_pixels, void_unsure
from effps_solo.inference.result import PanopticResult, Segment
from effps_solo.structures.classes import PanopticClass

CLASSES = (
    PanopticClass("car", True, 26, (0, 0, 142)),
    PanopticClass("road", False, 7, (128, 64, 128)),
)
IDS = np.array([[2, 2, 0, 5], [2, 300, 300, 5], [2, 2, 300, 5]])
INFO = [
    {"id": 300, "category_id": 0, "isthing": True, "score": 0.91},
    {"id": 5, "category_id": 0, "isthing": True, "score": 0.4},
    {"id": 2, "category_id": 1, "isthing": False, "score": 0.5},
]


@pytest.fixture
def result() -> PanopticResult:
    return PanopticResult.from_prediction(np.zeros((3, 4, 3), np.uint8), IDS, INFO, CLASSES)


def test_things_and_stuff_below_the_score(result: PanopticResult) -> None:
    assert np.array_equal(unsure_pixels(result, 0.6), (IDS == 2) | (IDS == 5))
    sure = void_unsure(result, 0.6)
    assert np.array_equal(sure.panoptic, np.where(IDS == 300, 300, 0))
    assert sure.segments == (Segment(300, 0, "car", True, 0.91, 3, (1, 1, 2, 2)),)
    assert sure.panoptic.dtype == np.int32 and sure.image is result.image


@pytest.mark.parametrize("min_score, left", [(0, 3), (0.4, 3), (0.41, 2), (0.5, 2), (1, 0)])
def test_a_score_of_exactly_so_much_is_sure(
    result: PanopticResult, min_score: float, left: int
) -> None:
    assert len(void_unsure(result, min_score).segments) == left


def test_nothing() -> None:
    ids = np.zeros((2, 3), dtype=np.int32)
    empty = PanopticResult.from_prediction(np.zeros((2, 3, 3), np.uint8), ids, [], CLASSES)
    assert void_unsure(empty, 0.9).segments == ()
