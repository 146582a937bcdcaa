"""Geometry of objects against one mask at a time, and by hand."""

import cv2
import numpy as np
import pytest

from effps_solo.data.geometry import (
    boxes_from_id_map,
    geometry_from_id_map,
    stride4_majority,
    stride4_mask,
)


def test_hand_worked_object():
    ids = np.zeros((8, 12), dtype=np.int32)
    ids[2:6, 1:4] = 1  # rows 2..5, columns 1..3
    geometry = geometry_from_id_map(ids, 2)
    assert geometry.areas.tolist() == [12, 0]
    assert geometry.boxes.tolist() == [[1, 2, 4, 6], [0, 0, 0, 0]]
    assert geometry.centers.tolist() == [[2, 3.5], [0, 0]]
    # Block (0, 0): pixels (2, 1) and (2, 2) of the centre 2 x 2 belong to the object.
    expected = np.zeros((2, 2, 3), dtype=bool)
    expected[0, 0, 0] = expected[0, 1, 0] = True
    assert (geometry.stride4_masks == expected).all()


def test_boxes_alone():
    ids = np.array([[0, 1, 1], [3, 1, 255]], dtype=np.int32)
    boxes = boxes_from_id_map(ids, 3)
    assert boxes.tolist() == [[1, 0, 3, 2], [0, 0, 0, 0], [0, 1, 1, 2]]
    assert boxes.dtype == np.float32
    assert boxes_from_id_map(np.zeros((4, 4), dtype=np.int32), 0).shape == (0, 4)


def test_two_objects_share_a_block():
    ids = np.zeros((4, 4), dtype=np.int32)
    ids[:, :2], ids[:, 2:] = 1, 2
    assert geometry_from_id_map(ids, 2).stride4_masks.all()


def test_no_object():
    geometry = geometry_from_id_map(np.zeros((5, 7), dtype=np.int32), 0)
    assert geometry.boxes.shape == (0, 4)
    assert geometry.centers.shape == (0, 2)
    assert geometry.stride4_masks.shape == (0, 2, 2)


def test_ids_above_the_count_belong_to_nobody():
    ids = np.full((4, 4), 255, dtype=np.int32)
    assert geometry_from_id_map(ids, 1).areas.tolist() == [0]


@pytest.mark.parametrize("seed", range(40))
def test_equals_slow_reference(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 60, 2)
    num_objects = int(rng.integers(0, 9))
    ids = np.zeros((height, width), dtype=np.int32)
    for k in rng.permutation(num_objects):
        y0, x0 = rng.integers(0, height), rng.integers(0, width)
        ids[y0 : y0 + rng.integers(1, 30), x0 : x0 + rng.integers(1, 30)] = k + 1
    ids[rng.random(ids.shape) < 0.1] = 0
    geometry = geometry_from_id_map(ids, num_objects)
    for k in range(num_objects):
        mask = ids == k + 1
        assert geometry.areas[k] == mask.sum()
        if mask.any():
            y, x = np.nonzero(mask)
            assert geometry.boxes[k].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
            assert np.allclose(geometry.centers[k], [x.mean(), y.mean()], atol=1e-4)
        padded = np.pad(mask, ((0, -height % 4), (0, -width % 4))).astype(np.float32)
        small = cv2.resize(padded, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_LINEAR)
        assert (geometry.stride4_masks[k] == (small >= 0.5)).all()


def test_majority_of_mixed_block():
    block = np.array([[9, 9, 9, 9], [9, 3, 5, 9], [9, 5, 3, 9], [9, 9, 9, 9]])
    first, second = stride4_majority(block)
    assert {int(first[0, 0]), int(second[0, 0])} == {3, 5}


@pytest.mark.parametrize("pattern", range(16))
def test_one_mask_needs_two_of_four(pattern):
    """Whichever of the centre pixels they are."""
    center = np.array([pattern >> k & 1 for k in range(4)], dtype=bool)
    block = np.zeros((4, 4), dtype=bool)
    block[1:3, 1:3] = center.reshape(2, 2)
    assert stride4_mask(block).tolist() == [[center.sum() >= 2]]


def test_one_mask_beyond_its_end():
    mask = np.ones((7, 5), dtype=bool)
    assert stride4_mask(mask).tolist() == [[True, False], [True, False]]
    assert stride4_mask(np.zeros((0, 9), dtype=bool)).shape == (0, 3)
