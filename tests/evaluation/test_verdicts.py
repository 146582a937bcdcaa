"""Counts of matched segments by hand."""

import numpy as np

from effps_solo.evaluation.matching import ImageSegments, Pair, PredictedSegment, TrueSegment
from effps_solo.evaluation.verdicts import Counts, Verdicts, count_array, count_classes, total
from effps_solo.structures.classes import PanopticClass

PERSON, CAR = 24, 26
CLASSES = (
    PanopticClass("person", True, PERSON, (220, 20, 60)),
    PanopticClass("car", True, CAR, (0, 0, 142)),
)
# A car that is found, one that is taken for a person, one that is missed, a crowd; a false car and one over
# void.
SEGMENTS = ImageSegments(
    (
        TrueSegment(1, CAR, 100, False),
        TrueSegment(2, CAR, 50, False),
        TrueSegment(3, CAR, 20, False),
        TrueSegment(4, CAR, 20, True),
    ),
    (
        PredictedSegment(11, CAR, 90),
        PredictedSegment(12, PERSON, 50),
        PredictedSegment(13, CAR, 9),
        PredictedSegment(14, CAR, 9, ignored=True),
    ),
    (Pair(1, 11, 0.9), Pair(2, 12, 0.8)),
)
EMPTY = ImageSegments((), (), ())


def test_verdicts() -> None:
    verdicts = Verdicts(SEGMENTS)
    assert verdicts.correct == {11: 0.9} and verdicts.wrong_class == {12}
    assert verdicts.missed == {2, 3} and verdicts.false == {12, 13}


def test_counts() -> None:
    assert count_classes([SEGMENTS], CLASSES) == {
        PERSON: Counts(0, 1, 0, 0.0),
        CAR: Counts(1, 1, 2, 0.9),
    }
    small = count_classes([SEGMENTS], CLASSES, (0, 30))
    assert small[CAR] == Counts(0, 1, 1, 0.0)
    assert total(count_classes([SEGMENTS] * 2, CLASSES).values()) == Counts(2, 4, 4, 1.8)
    assert total([]) == Counts()


def test_as_an_array() -> None:
    found = count_array([SEGMENTS, EMPTY], CLASSES)
    np.testing.assert_array_equal(found[0], [[0, 1, 0, 0], [1, 1, 2, 0.9]])
    assert found.shape == (2, 2, 4) and not found[1].any()
    assert count_array([], CLASSES).shape == (0, 2, 4)
