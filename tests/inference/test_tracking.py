"""Objects keep their numbers from frame to frame."""

from typing import Dict, Optional, Tuple

import numpy as np

from effps_solo.inference.result import PanopticResult
from effps_solo.inference.tracking import Tracker
from effps_solo.structures.classes import PanopticClass

CLASSES = (
    PanopticClass("car", True, 26, (0, 0, 142)),
    PanopticClass("bus", True, 28, (0, 60, 100)),
    PanopticClass("road", False, 7, (128, 64, 128)),
)
Box = Tuple[int, int]  # first column and category


def frame(boxes: Dict[int, Box], size: Optional[Tuple[int, int]] = None) -> PanopticResult:
    """Road, and squares of 40x40 pixels: id -> first column and category."""
    ids = np.full(size or (60, 400), 1000)
    info = [{"id": 1000, "category_id": 2, "isthing": False, "score": 1.0}]
    for segment_id, (x, category) in boxes.items():
        ids[10:50, x : x + 40] = segment_id
        info.append({"id": segment_id, "category_id": category, "isthing": True, "score": 0.9})
    image = np.zeros((*ids.shape, 3), dtype=np.uint8)
    return PanopticResult.from_prediction(image, ids, info, CLASSES)


def test_numbers_follow_the_objects_not_the_ids() -> None:
    tracker = Tracker()
    first = tracker.update(frame({1: (0, 0), 2: (100, 0)}))
    second = tracker.update(frame({1: (108, 0), 2: (8, 0), 3: (300, 0)}))
    assert sorted(first.values()) == [1, 2]
    assert second[1] == first[2] and second[2] == first[1] and second[3] == 3


def test_the_best_overlap_comes_first() -> None:
    tracker = Tracker(min_iou=0.1)
    assert tracker.update(frame({1: (100, 0)})) == {1: 1}
    # 12 of 68 columns are shared with the first, 28 of 52 with the second.
    assert tracker.update(frame({1: (72, 0), 2: (112, 0)})) == {1: 2, 2: 1}


def test_another_class_is_another_object() -> None:
    tracker = Tracker()
    first = tracker.update(frame({1: (100, 0)}))
    assert tracker.update(frame({1: (100, 1)}))[1] != first[1]


def test_an_object_may_be_missing_for_a_moment() -> None:
    for gap, same in ((3, True), (4, False)):
        tracker = Tracker(max_gap=3)
        first = tracker.update(frame({1: (100, 0)}))
        for _ in range(gap):
            assert tracker.update(frame({})) == {}
        assert (tracker.update(frame({5: (100, 0)}))[5] == first[1]) == same


def test_another_video_begins_anew_with_numbers_of_its_own() -> None:
    tracker = Tracker()
    first = tracker.update(frame({1: (100, 0)}))
    assert tracker.update(frame({1: (100, 0)}, size=(60, 300)))[1] > first[1]


def test_an_object_between_the_points() -> None:
    ids = np.zeros((8, 8), dtype=np.int64)
    ids[1, 1] = 7
    info = [{"id": 7, "category_id": 0, "isthing": True, "score": 0.9}]
    result = PanopticResult.from_prediction(np.zeros((8, 8, 3), np.uint8), ids, info, CLASSES)
    tracker = Tracker()
    assert tracker.update(result) == {7: 1} and tracker.update(result) == {7: 2}
