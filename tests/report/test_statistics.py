"""Counts, sizes, confusion, calibration and differences, worked out by hand."""

import math
from pathlib import Path
from typing import Callable, List

import numpy as np
import pytest

from effps_solo.evaluation.matching import ImageSegments, Pair, PredictedSegment, TrueSegment
from effps_solo.evaluation.record import RECORD_NAME, read_record
from effps_solo.evaluation.verdicts import Counts, count_classes
from effps_solo.report.statistics import (
    MISSED,
    NOTHING,
    Difference,
    calibration,
    confusion,
    groups_of,
    image_pq,
    pq_differences,
    quality_by_size,
)
from effps_solo.structures.classes import PanopticClass

PERSON, CAR, ROAD, SKY = 24, 26, 7, 23
EMPTY = ImageSegments((), (), ())
# The faulty image of conftest.py: the road gained 100 pixels of a person and lost 100 to a car.
ROAD_IOU = (80 * 48 - 1600 - 200 - 100) / (80 * 48 - 1600 - 100)


@pytest.fixture
def images(write_run: Callable[..., Path]) -> List[ImageSegments]:
    folder = write_run("run", perfect=0)
    record = read_record(folder / "inference" / "street_val" / RECORD_NAME)
    return [image.segments for image in record.images[:1]]


@pytest.fixture
def classes(write_run: Callable[..., Path]) -> tuple:
    folder = write_run("run", perfect=0)
    return read_record(folder / "inference" / "street_val" / RECORD_NAME).classes


def test_counts(images: List[ImageSegments], classes: tuple) -> None:
    counts = count_classes(images, classes)
    assert counts[PERSON] == Counts(tp=0, fp=0, fn=2)
    assert counts[CAR] == Counts(tp=1, fp=2, fn=0, iou=1.0)
    assert counts[ROAD] == Counts(tp=1, iou=pytest.approx(ROAD_IOU))
    assert counts[SKY] == Counts()


def test_groups(images: List[ImageSegments], classes: tuple) -> None:
    everything, things, stuff = groups_of(count_classes(images, classes), classes)
    assert things["pq"] == pytest.approx((0 + 100 / 2) / 2)
    assert stuff["pq"] == pytest.approx(100 * ROAD_IOU)  # the sky does not occur
    assert everything["pq"] == pytest.approx((0 + 50 + 100 * ROAD_IOU) / 3)
    assert image_pq(images[0], classes) == pytest.approx(everything["pq"])
    assert image_pq(EMPTY, classes) is None


def test_sizes(images: List[ImageSegments], classes: tuple) -> None:
    (small, small_scores, small_counts), (_, medium_scores, medium_counts), large = quality_by_size(
        images, classes
    )
    assert small == "small"
    assert small_counts == Counts(tp=0, fp=2, fn=2) and small_scores["pq"] == 0
    assert medium_counts == Counts(tp=1, iou=1.0) and medium_scores["pq"] == 100
    assert large[2] == Counts() and math.isnan(large[1]["pq"])


def test_a_size_is_that_of_the_truth() -> None:
    """A small object that is found too large is a small one found."""
    car = (PanopticClass("car", True, CAR, (0, 0, 0)),)
    segments = ImageSegments(
        (TrueSegment(1, CAR, 1000, False),), (PredictedSegment(1, CAR, 1500),), (Pair(1, 1, 0.66),)
    )
    rows = quality_by_size([segments], car)
    assert [counts.tp for _, _, counts in rows] == [1, 0, 0]
    assert [counts.fp for _, _, counts in rows] == [0, 0, 0]


def test_confusion(images: List[ImageSegments], classes: tuple) -> None:
    assert confusion(images, classes) == {
        ("car", "car"): 1,
        ("person", "car"): 1,
        ("person", MISSED): 1,
        ("road", "road"): 1,
        (NOTHING, "car"): 1,
    }


def test_crowds_and_what_lies_over_them_are_nowhere(classes: tuple) -> None:
    crowd = ImageSegments(
        (TrueSegment(1, CAR, 99, True),), (PredictedSegment(2, CAR, 50, 0.9, ignored=True),), ()
    )
    assert count_classes([crowd], classes)[CAR] == Counts()
    assert not confusion([crowd], classes)
    assert calibration([crowd], classes, isthing=True)[0] == []
    assert image_pq(crowd, classes) is None


def test_calibration(images: List[ImageSegments], classes: tuple) -> None:
    bins, error = calibration(images, classes, isthing=True)
    assert [(b.low, b.high, b.count, b.precision) for b in bins] == [
        (0.3, 0.4, 2, 0.0),
        (0.8, 0.9, 1, 1.0),
    ]
    assert bins[0].mean_score == pytest.approx(0.33)
    assert error == pytest.approx((2 * 0.33 + 1 * 0.15) / 3)
    bins, error = calibration(images, classes, isthing=False)
    assert len(bins) == 1 and error == pytest.approx(0.05)
    assert math.isnan(calibration([EMPTY], classes, isthing=True)[1])


def test_a_score_of_one_is_in_the_last_bin(classes: tuple) -> None:
    sure = ImageSegments((), (PredictedSegment(2, CAR, 50, 1.0),), ())
    (only,), error = calibration([sure], classes, isthing=True)
    assert (only.low, only.high, error) == (0.9, 1.0, 1.0)


def test_no_difference_to_itself(images: List[ImageSegments], classes: tuple) -> None:
    groups, by_class = pq_differences(images * 3, images * 3, classes)
    assert groups == [Difference(0, 0, 0)] * 3
    assert not groups[0].is_real
    assert by_class[CAR].value == 0 and math.isnan(by_class[SKY].value)


def test_a_class_better_in_every_image_is_really_better(classes: tuple) -> None:
    missed = ImageSegments((TrueSegment(1, CAR, 9, False),), (), ())
    found = ImageSegments(missed.truth, (PredictedSegment(1, CAR, 9),), (Pair(1, 1, 0.8),))
    groups, by_class = pq_differences([missed] * 5, [found] * 5, classes)
    assert by_class[CAR] == Difference(*[pytest.approx(80)] * 3)
    assert by_class[CAR].is_real and groups[0].value == pytest.approx(80)
    assert math.isnan(groups[2].value)


def test_the_interval_is_that_of_a_slow_bootstrap(classes: tuple) -> None:
    """One car in each image, found by the second run in 12 of 40: PQ is the share of hits."""
    missed = ImageSegments((TrueSegment(1, CAR, 9, False),), (), ())
    found = ImageSegments(missed.truth, (PredictedSegment(1, CAR, 9),), (Pair(1, 1, 1.0),))
    second = [found if i < 12 else missed for i in range(40)]
    _, by_class = pq_differences([missed] * 40, second, classes)
    generator = np.random.default_rng(7)
    drawn = []
    for _ in range(4000):
        hits = sum(generator.integers(0, 40) < 12 for _ in range(40))
        drawn.append(100 * hits / (hits + 0.5 * (40 - hits)))
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert by_class[CAR].value == pytest.approx(100 * 12 / 26)
    assert by_class[CAR].low == pytest.approx(low, abs=4)
    assert by_class[CAR].high == pytest.approx(high, abs=4)


def test_without_images(classes: tuple) -> None:
    groups, by_class = pq_differences([], [], classes)
    assert all(math.isnan(d.value) for d in [*groups, *by_class.values()])
