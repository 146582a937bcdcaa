"""Overlays: colours, borders, labels, legends, sizes."""

from typing import Any

import numpy as np
import pytest

from effps_solo.structures.classes import PanopticClass
from effps_solo.visualization.overlay import panoptic_overlay
from effps_solo.visualization.segment_tables import shade

CLASSES = (
    PanopticClass("car", True, 26, (200, 0, 0)),
    PanopticClass("bus", True, 28, (0, 0, 200)),
    PanopticClass("Straße", False, 7, (10, 100, 50)),
    PanopticClass("sky", False, 23, (0, 0, 0)),
)
STUFF = {"id": 1, "category_id": 2, "isthing": False, "score": 1.0}


def thing(number: int, category: int = 0) -> Any:
    return {"id": number, "category_id": category, "isthing": True, "score": 0.876}


def black(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), dtype=np.uint8)


def test_half_the_colour_of_the_class_and_nothing_on_void() -> None:
    image = np.full((2, 3, 3), 50, dtype=np.uint8)
    ids = np.array([[1, 1, 0], [1, 0, 9]])  # nobody knows of 9
    picture = panoptic_overlay(image, ids, [STUFF], CLASSES)
    assert picture.dtype == np.uint8 and image.min() == image.max() == 50
    assert (picture[ids == 1] == [30, 75, 50]).all() and (picture[ids != 1] == 50).all()
    opaque = panoptic_overlay(image, ids, [STUFF], CLASSES, opacity=1.0)
    assert (opaque[ids == 1] == [10, 100, 50]).all()


def test_objects_have_white_borders_and_shades_of_their_class() -> None:
    ids = np.zeros((12, 20), dtype=np.int32)
    ids[2:10, 2:9], ids[2:10, 9:16] = 4, 5
    picture = panoptic_overlay(black(12, 20), ids, [thing(4), thing(5)], CLASSES)
    white = (picture == 255).all(axis=2)
    inside = np.zeros_like(white)
    inside[3:9, 3:8] = inside[3:9, 10:15] = True
    assert (white == ((ids > 0) & ~inside)).all()
    first, second = picture[5, 5].astype(int), picture[5, 12].astype(int)
    assert (first != second).any() and first.argmax() == second.argmax() == 0
    again = panoptic_overlay(black(12, 20), ids, [thing(4), thing(5)], CLASSES)
    assert (again == picture).all()


def test_a_shade_can_be_chosen() -> None:
    ids = np.full((8, 8), 4, dtype=np.int32)
    for number in (4, 17, 100_000):
        picture = panoptic_overlay(
            black(8, 8), ids, [thing(4)], CLASSES, opacity=1.0, shades={4: number}
        )
        assert tuple(picture[4, 4].tolist()) == shade((200, 0, 0), number)


def test_stuff_ends_in_a_shine_not_in_white() -> None:
    ids = np.array([[1, 1, 2, 2, 0]])
    stuff = [STUFF, {**STUFF, "id": 2, "category_id": 3}]
    picture = panoptic_overlay(black(1, 5), ids, stuff, CLASSES)
    plain = [5, 50, 25]
    assert picture[0].tolist() == [plain, [2 + 64, 25 + 64, 12 + 64], [0] * 3, [0] * 3, [0] * 3]


def test_large_images_shrink_and_small_ones_stay() -> None:
    image, ids = black(100, 300), np.ones((100, 300), dtype=np.int64)
    assert panoptic_overlay(image, ids, [STUFF], CLASSES, max_size=60).shape == (20, 60, 3)
    assert panoptic_overlay(image, ids, [STUFF], CLASSES, max_size=600).shape == (100, 300, 3)


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (3, 50)])
def test_an_image_without_segments(size: Any) -> None:
    image = np.full((*size, 3), 9, dtype=np.uint8)
    everything = {"labels": True, "legend": True}
    ids = np.zeros(size, dtype=np.int64)
    assert (panoptic_overlay(image, ids, [], CLASSES, **everything) == image).all()
    # A segment whose pixels a smaller picture lost is no error.
    assert (panoptic_overlay(image, ids, [thing(7)], CLASSES, **everything) == image).all()
    ids[0, 0] = 7
    assert panoptic_overlay(image, ids, [thing(7)], CLASSES, labels=True).shape == image.shape
