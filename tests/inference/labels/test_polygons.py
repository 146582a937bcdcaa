"""Polygons round masks: worked by hand, and filled again by Pillow and pycocotools."""

from typing import List

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as mask_utils

from effps_solo.inference.labels.polygons import (
    edge_middles,
    run_lengths,
    trace_mask,
    without_inset,
)


def mask_of(text: str) -> np.ndarray:
    """A mask from rows of # and other characters."""
    return np.array([[c == "#" for c in row] for row in text.split()])


def corners(points: np.ndarray) -> List[List[float]]:
    return without_inset(points).tolist()


def pillow(parts: List[np.ndarray], size: "tuple[int, int]") -> np.ndarray:
    image = Image.new("1", size[::-1])
    for part in parts:
        ImageDraw.Draw(image).polygon([(x, y) for x, y in part.tolist()], fill=1)
    return np.asarray(image)


def pycocotools(parts: List[np.ndarray], size: "tuple[int, int]") -> np.ndarray:
    rles = mask_utils.frPyObjects([part.ravel().tolist() for part in parts], *size)
    filled: np.ndarray = mask_utils.decode(mask_utils.merge(rles)).astype(bool)
    return filled


def test_one_pixel() -> None:
    (part,), has_holes = trace_mask(mask_of("... .#."))
    assert not has_holes
    expected = [[1.01, 1.01], [1.99, 1.01], [1.99, 1.99], [1.01, 1.99]]
    assert np.allclose(part, expected)


def test_all_pixels() -> None:
    (part,), _ = trace_mask(np.ones((2, 3), dtype=bool))
    assert corners(part) == [[0, 0], [3, 0], [3, 2], [0, 2]]


def test_an_angle_turns_inwards_on_both_sides() -> None:
    (part,), _ = trace_mask(mask_of("## #."))
    assert corners(part) == [[0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2]]
    assert part[3].tolist() == [0.99, 0.99]  # in the upper left pixel


@pytest.mark.parametrize("text", ["#. .#", ".# #."])
def test_pixels_that_touch_with_a_corner_are_two_parts(text: str) -> None:
    parts, has_holes = trace_mask(mask_of(text))
    assert [len(part) for part in parts] == [4, 4] and not has_holes


def test_a_hole_hangs_on_a_bridge() -> None:
    (part,), has_holes = trace_mask(mask_of("#### ##.# ####"))
    assert has_holes
    assert corners(part) == (
        [[0, 0], [2, 0], [2, 2], [3, 2], [3, 1], [2, 1], [2, 0], [4, 0], [4, 3], [0, 3]]
    )


def test_a_bridge_can_lead_to_another_hole() -> None:
    mask = mask_of("#### #.## #### #..# ####")
    parts, has_holes = trace_mask(mask)
    assert has_holes and len(parts) == 1
    assert np.array_equal(pillow(parts, mask.shape), mask)


def test_an_island_in_a_hole_is_a_part() -> None:
    mask = mask_of("####### #.....# #.###.# #.#.#.# #.###.# #.....# #######")
    parts, has_holes = trace_mask(mask)
    assert has_holes and len(parts) == 2
    assert np.array_equal(pillow(parts, mask.shape), mask)


@pytest.mark.parametrize("size", [(0, 0), (0, 3), (3, 4)])
def test_an_empty_mask(size: "tuple[int, int]") -> None:
    assert trace_mask(np.zeros(size, dtype=bool)) == ([], False)


def random_masks() -> List[np.ndarray]:
    rng = np.random.default_rng(0)
    noise = [
        rng.random(rng.integers(1, 14, 2)) < density for density in rng.uniform(0.2, 0.98, 300)
    ]
    blobs = [
        cv2.blur(rng.random((30, 40)).astype(np.float32), (5, 5)) > level
        for level in rng.uniform(0.4, 0.6, 100)
    ]
    return [mask for mask in noise + blobs if mask.any()]


def test_readers_fill_exactly_the_mask() -> None:
    masks, with_holes = random_masks(), 0
    for mask in masks:
        parts, has_holes = trace_mask(mask)
        with_holes += has_holes
        components = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[0] - 1
        assert len(parts) == components
        assert min(map(len, parts)) >= 4
        assert np.array_equal(pillow(parts, mask.shape), mask)
        assert np.array_equal(pycocotools(parts, mask.shape), mask)
        whole = [without_inset(part) for part in parts]
        assert np.array_equal(pycocotools(whole, mask.shape), mask)
    assert 50 < with_holes < len(masks) - 50  # the test sees both kinds


def test_middles_of_sides() -> None:
    (part,), _ = trace_mask(mask_of("## #."))
    assert np.allclose(
        edge_middles(part),
        [
            [0.5, 0.01],
            [1.5, 0.01],
            [1.99, 0.5],
            [1.5, 0.99],
            [0.99, 1.5],
            [0.5, 1.99],
            [0.01, 1.5],
            [0.01, 0.5],
        ],
    )


@pytest.mark.parametrize(
    "pixels, expected",
    [("..##.", [2, 2, 1]), ("##.", [0, 2, 1]), ("...", [3]), ("#", [0, 1])],
)
def test_run_lengths(pixels: str, expected: List[int]) -> None:
    assert run_lengths(mask_of(pixels)[0]) == expected
