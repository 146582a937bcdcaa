"""Masks of shapes against what Pillow and pycocotools draw on whole images."""

import base64
import io
from typing import Any, List

import numpy as np
import pycocotools.mask as mask_util
import pytest
from PIL import Image, ImageDraw

from effps_solo.data.importers.geometry import FaultyShapeError, NoAreaError
from effps_solo.data.importers.rasterize import CENTERS, CORNERS, KINDS, rasterize

SIZE = (37, 53)


def full(kind: str, data: Any, convention: str) -> np.ndarray:
    """The mask in its image; its corner and area are as tight as can be."""
    mask = rasterize(kind, data, SIZE, convention)
    pixels = mask.full(SIZE)
    y, x = np.nonzero(pixels)
    assert mask.area == pixels.sum() > 0 and mask.corner == (x.min(), y.min())
    assert mask.pixels().shape == (np.ptp(y) + 1, np.ptp(x) + 1)
    return pixels


def polygons(rng: np.random.Generator) -> List[List[float]]:
    scale, shift = rng.choice([3, 20, 90]), rng.uniform(-10, 50, 2)
    return [
        (rng.normal(0, scale, (int(rng.integers(3, 9)), 2)) + shift).ravel().tolist()
        for _ in range(rng.integers(1, 4))
    ]


@pytest.mark.parametrize("seed", range(60))
def test_polygons_of_pixel_corners_are_those_of_pycocotools(seed: int) -> None:
    parts = polygons(np.random.default_rng(seed))
    expected = mask_util.decode(mask_util.merge(mask_util.frPyObjects(parts, *SIZE))).astype(bool)
    if not expected.any():
        with pytest.raises(NoAreaError, match="without a pixel in the image"):
            rasterize("polygon", parts, SIZE, CORNERS)
    else:
        assert np.array_equal(full("polygon", parts, CORNERS), expected)
        assert np.array_equal(full("segmentation", parts, CORNERS), expected)


@pytest.mark.parametrize("seed", range(60))
def test_polygons_of_pixel_centers_are_those_of_pillow(seed: int) -> None:
    parts = polygons(np.random.default_rng(seed))
    image = Image.new("1", SIZE[::-1])
    for part in parts:
        ImageDraw.Draw(image).polygon([tuple(p) for p in np.reshape(part, (-1, 2))], fill=1)
    expected = np.asarray(image)
    if not expected.any():
        with pytest.raises(NoAreaError, match="without a pixel in the image"):
            rasterize("polygon", parts, SIZE, CENTERS)
    else:
        assert np.array_equal(full("polygon", parts, CENTERS), expected)


@pytest.mark.parametrize(("convention", "side"), [(CENTERS, 31), (CORNERS, 30)])
@pytest.mark.parametrize(
    "points",
    [
        [[5, 3], [35, 33]],
        [[35, 3], [5, 33]],
        [5, 3, 35, 33],
        [[5, 3], [35, 3], [35, 33], [5, 33]],
    ],
)
def test_rectangles(points: Any, convention: str, side: int) -> None:
    expected = np.zeros(SIZE, dtype=bool)
    expected[3 : 3 + side, 5 : 5 + side] = True
    assert np.array_equal(full("rectangle", points, convention), expected)


def test_a_turned_rectangle_is_a_polygon() -> None:
    points = [[20, 5], [35, 20], [20, 35], [5, 20]]
    mask = full("rectangle", points, CENTERS)
    assert np.array_equal(mask, full("polygon", points, CENTERS)) and not mask[5, 5]


def test_a_rectangle_that_goes_on_outside() -> None:
    assert full("rectangle", [[-9, -9], [99, 99]], CENTERS).all()
    with pytest.raises(NoAreaError, match="of less than three points"):
        rasterize("rectangle", [[5, 5]], SIZE, CENTERS)


@pytest.mark.parametrize("convention", [CENTERS, CORNERS])
def test_circles(convention: str) -> None:
    mask = full("circle", [[20, 18], [20, 12]], convention)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + (0.5 if convention == CORNERS else 0)
    distance = np.hypot(x - 20, y - 18)
    assert mask[distance < 5].all() and not mask[distance > 7].any()
    assert full("circle", [[20, 18], [60, 60]], convention).mean() > 0.99
    with pytest.raises(NoAreaError, match="'circle' without two points"):
        rasterize("circle", [[20, 18]], SIZE, convention)


def png(mask: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(mask).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_masks_at_a_corner_and_beyond_the_image() -> None:
    mask = np.random.default_rng(0).integers(0, 2, (10, 12), dtype=np.uint8)
    mask[[0, -1]], mask[:, [0, -1]] = 1, 1
    for x, y in ((3, 4), (-5, -6), (48, 30)):
        expected = np.zeros((80, 90), dtype=bool)
        expected[y + 20 : y + 30, x + 20 : x + 32] = mask
        expected = expected[20 : 20 + SIZE[0], 20 : 20 + SIZE[1]]
        data = (png(mask * 255), [[x + 0.2, y - 0.2], [x + 12, y + 10]])
        assert np.array_equal(full("png", data, CENTERS), expected)
        assert np.array_equal(full("mask", (mask > 0, (x, y)), CORNERS), expected)
    with pytest.raises(NoAreaError, match="without a pixel in the image"):
        rasterize("mask", (mask > 0, (60, 4)), SIZE, CORNERS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (("no png", [[1, 1], [5, 5]]), "its mask is no PNG as base64"),
        ((None, [[1, 1], [5, 5]]), "its mask is no PNG as base64"),
        ((png(np.ones((4, 5), np.uint8)), []), r"has the points \[\] instead of two corners"),
        ((png(np.ones((4, 5), np.uint8)), [[1e9, 1]]), "far outside"),
        ((png(np.ones((40, 5), np.uint8)), [[1, 1]]), "its mask has 5x40 pixels, its image 53x37"),
    ],
)
def test_broken_masks(data: Any, message: str) -> None:
    with pytest.raises(FaultyShapeError, match=message):
        rasterize("png", data, SIZE, CENTERS)


def test_runs_and_lists_of_runs() -> None:
    masks = np.zeros((2, *SIZE), dtype=np.uint8)
    masks[0, 3:9, 4:20], masks[1, 5:30, 10:12] = 1, 1
    runs = [mask_util.encode(np.asfortranarray(mask)) for mask in masks]
    assert np.array_equal(full("segmentation", runs[0], CORNERS), masks[0] > 0)
    assert np.array_equal(full("segmentation", runs, CORNERS), masks.any(axis=0))
    for nothing in (None, [], [[]], {}, ""):
        with pytest.raises(NoAreaError, match="without a mask"):
            rasterize("segmentation", nothing, SIZE, CORNERS)
    with pytest.raises(FaultyShapeError, match="is no RLE with counts and size"):
        rasterize("segmentation", [runs[0], [1, 2, 3, 4, 5, 6]], SIZE, CORNERS)


def test_kinds_without_an_area() -> None:
    assert "line" not in KINDS
    with pytest.raises(NoAreaError, match="of the kind 'line', which has no area"):
        rasterize("line", [[1, 2], [3, 4]], SIZE, CENTERS)
