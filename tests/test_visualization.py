"""Overlays: colours, borders, sizes."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from effps_solo.visualization import panoptic_overlay

METADATA = SimpleNamespace(
    thing_colors=[[200, 0, 0], [0, 0, 200]], stuff_colors=[[0, 0, 0], [0, 0, 0], [10, 100, 50]]
)
STUFF = {"id": 1, "category_id": 2, "isthing": False}


def thing(number: int, category: int = 0) -> Any:
    return {"id": number, "category_id": category, "isthing": True}


def test_half_the_colour_of_the_class_and_nothing_on_void() -> None:
    image = np.full((2, 3, 3), 50, dtype=np.uint8)
    ids = np.array([[1, 1, 0], [1, 0, 0]])
    picture = panoptic_overlay(image, ids, [STUFF], METADATA)
    assert picture.dtype == np.uint8 and image.max() == 50
    assert (picture[ids == 1] == [30, 75, 50]).all() and (picture[ids == 0] == 50).all()


def test_objects_have_white_borders_and_tints_of_their_class() -> None:
    ids = np.zeros((12, 20), dtype=np.int32)
    ids[2:10, 2:9], ids[2:10, 9:16] = 4, 5
    black = np.zeros((12, 20, 3), dtype=np.uint8)
    picture = panoptic_overlay(black, ids, [thing(4), thing(5)], METADATA)
    white = (picture == 255).all(axis=2)
    inside = np.zeros_like(white)
    inside[3:9, 3:8] = inside[3:9, 10:15] = True
    assert (white == ((ids > 0) & ~inside)).all()
    first, second = picture[5, 5].astype(int), picture[5, 12].astype(int)
    assert (first != second).any() and first.argmax() == second.argmax() == 0
    again = panoptic_overlay(black, ids, [thing(4), thing(5)], METADATA)
    assert (again == picture).all()


def test_stuff_has_no_borders() -> None:
    ids = np.array([[1, 1, 2, 2]])
    stuff = [STUFF, {**STUFF, "id": 2, "category_id": 0}]
    picture = panoptic_overlay(np.zeros((1, 4, 3), np.uint8), ids, stuff, METADATA)
    assert not (picture == 255).any()


def test_large_images_shrink_and_small_ones_stay() -> None:
    image, ids = np.zeros((100, 300, 3), dtype=np.uint8), np.ones((100, 300), dtype=np.int64)
    assert panoptic_overlay(image, ids, [STUFF], METADATA, max_size=60).shape == (20, 60, 3)
    assert panoptic_overlay(image, ids, [STUFF], METADATA, max_size=600).shape == (100, 300, 3)


def test_an_image_without_segments() -> None:
    image = np.full((4, 4, 3), 9, dtype=np.uint8)
    assert (panoptic_overlay(image, np.zeros((4, 4), int), [], METADATA) == image).all()
    # A segment whose pixels a smaller picture lost is no error.
    assert (panoptic_overlay(image, np.zeros((4, 4), int), [thing(7)], METADATA) == image).all()
