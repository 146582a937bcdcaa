"""What pixels say about segments, against the plainest way to find it."""

import numpy as np
import pytest

from effps_solo.structures.segment_measures import (
    common_areas,
    measure_segments,
    measured_segments,
)


def test_measures_by_hand() -> None:
    ids = np.array([[7, 7, 0, 300], [0, 7, 0, 300], [7, 0, 0, 0]])
    measures = measure_segments(ids)
    assert measures.ids.tolist() == [7, 300]
    assert measures.areas.tolist() == [4, 2]
    assert measures.boxes.tolist() == [[0, 0, 2, 3], [3, 0, 1, 2]]


@pytest.mark.parametrize("seed", range(10))
def test_measures_equal_those_of_masks_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ids = rng.choice([0, 1, 255, 70000, 256**3 - 1], (13, 17), p=[0.4, 0.3, 0.1, 0.1, 0.1])
    ids = ids.repeat(rng.integers(1, 4), 0).repeat(rng.integers(1, 4), 1)
    measures = measure_segments(ids.astype(np.int32))
    assert measures.ids.tolist() == [i for i in np.unique(ids) if i]
    for segment_id, area, box in zip(measures.ids, measures.areas, measures.boxes):
        y, x = np.nonzero(ids == segment_id)
        assert area == len(x)
        assert box.tolist() == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]


def test_segments_info() -> None:
    ids = np.array([[7, 7, 0, 300], [5, 7, 0, 300]])
    segments = {
        300: {"category_id": 2, "iscrowd": 1, "name": "x"},
        7: {"category_id": 0, "iscrowd": 0},
        8: {"category_id": 0, "iscrowd": 0},
    }
    assert measured_segments(ids, segments) == [
        {"id": 7, "category_id": 0, "iscrowd": 0, "area": 3, "bbox": [0, 0, 2, 2]},
        {"id": 300, "category_id": 2, "iscrowd": 1, "area": 2, "bbox": [3, 0, 1, 2]},
    ]
    assert measured_segments(np.zeros((2, 2), int), segments) == []


def test_common_areas_by_hand() -> None:
    first = np.array([[7, 7, 0], [2**24 - 1, 0, 0]], dtype=np.int32)
    second = np.array([[3, 0, 0], [3, 3, 0]], dtype=np.uint16)
    expected = {(7, 3): 1, (7, 0): 1, (0, 0): 2, (2**24 - 1, 3): 1, (0, 3): 1}
    assert common_areas(first, second) == expected
    assert common_areas(np.zeros((0, 4), int), np.zeros((0, 4), int)) == {}
