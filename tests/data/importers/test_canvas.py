"""Segments drawn over each other, worked out by hand."""

from typing import Any

import numpy as np

from effps_solo.data.importers.canvas import SegmentCanvas


def rectangle(canvas: SegmentCanvas, corner: Any, opposite: Any, segment_id: int) -> None:
    (x0, y0), (x1, y1) = corner, opposite
    canvas.mask(np.ones((y1 - y0 + 1, x1 - x0 + 1)), segment_id, (x0, y0))


CAR, ROAD = {"id": 300, "name": "car", "isthing": 1}, {"id": 0, "name": "road", "isthing": 0}


def test_nothing_drawn_is_void() -> None:
    ids, info = SegmentCanvas(3, 5).result()
    assert ids.shape == (3, 5) and ids.dtype == np.int32 and not ids.any()
    assert info == []


def test_later_covers_earlier() -> None:
    canvas = SegmentCanvas(6, 8)
    rectangle(canvas, (0, 0), (7, 5), canvas.segment(ROAD))
    rectangle(canvas, (1, 1), (4, 3), canvas.segment(CAR, instance=1))
    rectangle(canvas, (3, 2), (5, 4), canvas.segment(CAR, instance=2))
    rectangle(canvas, (0, 5), (7, 5), 0)
    ids, info = canvas.result()
    expected = np.ones((6, 8), dtype=int)
    expected[1:4, 1:5], expected[2:5, 3:6], expected[5] = 2, 3, 0
    assert np.array_equal(ids, expected)
    assert info == [
        {"id": 1, "category_id": 0, "iscrowd": 0, "area": 40 - 8 - 9, "bbox": [0, 0, 8, 5]},
        {"id": 2, "category_id": 300, "iscrowd": 0, "area": 12 - 4, "bbox": [1, 1, 4, 3]},
        {"id": 3, "category_id": 300, "iscrowd": 0, "area": 9, "bbox": [3, 2, 3, 3]},
    ]


def test_label_maps_cover_what_they_name() -> None:
    canvas = SegmentCanvas(2, 4)
    rectangle(canvas, (0, 0), (3, 1), canvas.segment(ROAD))
    car = canvas.segment(CAR, instance=1)
    values = np.array([[7, 7, 70000, 0], [7, 9, 9, 0]])
    canvas.label_map(values, {7: car, 9: 0, 5: car})
    ids, info = canvas.result()
    assert ids.tolist() == [[2, 2, 1, 1], [2, 1, 1, 1]]
    assert [segment["area"] for segment in info] == [5, 3]
    canvas.label_map(values, {})
    canvas.label_map(np.zeros((0, 0), int), {})
    assert canvas.result()[0].tolist() == ids.tolist()


def test_what_is_one_segment() -> None:
    canvas = SegmentCanvas(4, 4)
    assert canvas.segment(ROAD, instance=1) == canvas.segment(ROAD, instance=2, crowd=True)
    assert canvas.segment(CAR, instance=1) == canvas.segment(CAR, instance=1)
    assert canvas.segment(CAR, instance=1) != canvas.segment(CAR, instance=2)
    crowd = canvas.segment(CAR, instance=1, crowd=True)
    assert crowd == canvas.segment(CAR, instance=2, crowd=True)
    assert crowd != canvas.segment(CAR, instance=1)
    rectangle(canvas, (0, 0), (3, 0), crowd)
    assert [segment["iscrowd"] for segment in canvas.result()[1]] == [1]


def test_covered_segments_are_noted() -> None:
    canvas = SegmentCanvas(4, 4)
    rectangle(canvas, (1, 1), (2, 2), canvas.segment(CAR, instance=1))
    rectangle(canvas, (0, 0), (3, 3), canvas.segment(ROAD))
    assert [segment["id"] for segment in canvas.result()[1]] == [2]
    assert canvas.counts.left_out == {"covered entirely by others": 1}
    assert canvas.counts.num_drawn == 1 and canvas.notes == {}


def test_masks_at_a_corner_and_beyond_the_image() -> None:
    canvas = SegmentCanvas(5, 6)
    mask = np.array([[True, False, True], [True, True, True]])
    canvas.mask(mask, canvas.segment(ROAD), (1, 2))
    canvas.mask(mask, canvas.segment(CAR), (4, 4))
    expected = np.zeros((5, 6), dtype=int)
    expected[2:4, 1:4] = mask
    expected[4, 4:6] = [2, 0]
    assert np.array_equal(canvas.result()[0], expected)


def test_many_segments() -> None:
    canvas = SegmentCanvas(20, 20)
    for k in range(400):
        rectangle(canvas, (k % 20, k // 20), (k % 20, k // 20), canvas.segment(CAR, instance=k))
    ids, info = canvas.result()
    assert np.array_equal(ids.ravel(), np.arange(1, 401)) and len(info) == 400


def test_the_background_lies_below_all() -> None:
    canvas = SegmentCanvas(4, 4)
    canvas.fill(ROAD)
    rectangle(canvas, (0, 0), (1, 1), canvas.segment(CAR, instance=1))
    rectangle(canvas, (3, 0), (3, 3), 0)
    ids, info = canvas.result()
    assert ids.tolist() == [[2, 2, 1, 0]] * 2 + [[1, 1, 1, 0]] * 2
    assert [segment["category_id"] for segment in info] == [0, 300]
    rectangle(canvas, (0, 0), (3, 3), canvas.segment(CAR, instance=2))
    canvas.result()
    assert canvas.notes == {}  # that nothing is left of it is worth no word


def test_crowds_as_objects() -> None:
    canvas = SegmentCanvas(4, 4, crowds_as_objects=True)
    ids = [canvas.segment(CAR, instance=k, crowd=True) for k in (1, 2)]
    assert ids == [1, 2] and canvas.counts.num_objects == {"car": 2}
    assert not canvas.counts.num_crowds
