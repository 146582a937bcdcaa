"""Segments as polygons, exact and simplified, as their readers draw them."""

from typing import Any, Callable, List, Tuple

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as mask_utils

from effps_solo.inference.labels.outlines import (
    MIN_IOU,
    Outline,
    _fill_polygon,
    outline_segments,
)
from tests.inference.labels.scenes import Scene, disc, iou


def outlines_of(scene: Scene, tolerance: float = 0.0) -> List[Outline]:
    return outline_segments(scene.ids, scene.entry["annotation"]["segments_info"], tolerance)


def drawn_by_pillow(outlines: List[Outline], size: Tuple[int, int]) -> np.ndarray:
    image = Image.new("I", size[::-1])
    for outline in outlines:
        for part in outline.parts:
            points = [(x, y) for x, y in part.tolist()]
            ImageDraw.Draw(image).polygon(points, fill=outline.id)
    return np.asarray(image)


def drawn_by_pycocotools(outlines: List[Outline], size: Tuple[int, int]) -> np.ndarray:
    """Small ones over large ones, as the importer of COCO files draws."""
    ids = np.zeros(size, dtype=np.int32)
    masks: List[Any] = []
    for outline in outlines:
        mask = np.zeros(size, dtype=bool)
        mask[outline.window] = outline.mask
        if not outline.has_holes:
            polygons = [part.ravel().tolist() for part in outline.parts]
            mask = mask_utils.decode(mask_utils.merge(mask_utils.frPyObjects(polygons, *size)))
        masks.append((-int(mask.sum()), len(masks), outline.id, mask > 0))
    for _, _, segment_id, mask in sorted(masks, key=lambda entry: entry[:2]):
        ids[mask] = segment_id
    return ids


def corners(outlines: List[Outline]) -> int:
    return sum(len(part) for outline in outlines for part in outline.parts)


def test_what_is_known_of_each(scene: Scene) -> None:
    outlines = outlines_of(scene)
    # Stuff before things, large before small.
    assert [outline.id for outline in outlines] == [2, 1, 5, 3, 4, 6, 300]
    assert [len(outline.parts) for outline in outlines] == [2, 3, 2, 1, 1, 2, 1]
    assert [outline.has_holes for outline in outlines] == [True, False, False, True, True] + [
        False
    ] * 2
    for outline in outlines:
        assert outline.area == (scene.ids == outline.id).sum() == outline.mask.sum()
        assert (scene.ids[outline.window] == outline.id).sum() == outline.area
        assert (outline.isthing, outline.score) == (outline.id > 2, 0.75)


def test_exact_polygons(scene: Scene) -> None:
    outlines = outlines_of(scene)
    assert np.array_equal(drawn_by_pillow(outlines, scene.ids.shape), scene.ids)
    assert np.array_equal(drawn_by_pillow(outlines[::-1], scene.ids.shape), scene.ids)
    assert np.array_equal(drawn_by_pycocotools(outlines, scene.ids.shape), scene.ids)


@pytest.mark.parametrize("tolerance", [0.5, 1, 2, 20])
def test_simplified_polygons_keep_every_segment(scene: Scene, tolerance: float) -> None:
    outlines = outlines_of(scene, tolerance)
    for draw in (drawn_by_pillow, drawn_by_pycocotools):
        ids = draw(outlines, scene.ids.shape)
        for outline in outlines:
            assert iou(ids == outline.id, scene.ids == outline.id) >= MIN_IOU
    assert min(len(part) for outline in outlines for part in outline.parts) >= 3
    assert corners(outlines) < corners(outlines_of(scene)) * 0.6


def test_a_slanted_border_needs_two_corners(write_scene: Callable[..., Scene]) -> None:
    y, x = np.indices((100, 300))
    scene = write_scene(np.where(3 * y > x, 2, 1))
    road, sky = outlines_of(scene, 1)
    assert corners(outlines_of(scene)) > 390
    # Those of the border, and the cut corners of the image.
    assert len(road.parts[0]) <= 6 and len(sky.parts[0]) <= 6


def test_a_part_without_area_stays_exact(write_scene: Callable[..., Scene]) -> None:
    scene = write_scene(np.array([[0, 0, 0, 0], [0, 3, 3, 0], [0, 0, 0, 0]]))
    (outline,) = outlines_of(scene, 30)
    assert np.allclose(outline.parts[0], [[1.01, 1.01], [2.99, 1.01], [2.99, 1.99], [1.01, 1.99]])


def test_a_large_neighbour_is_finer_for_the_sake_of_a_small_one(
    write_scene: Callable[..., Scene],
) -> None:
    ids = np.where(disc(60, 45, 40), 3, 0)
    alone = outlines_of(write_scene(ids), 4)[0]
    ids[disc(60, 45, 40) & ~disc(60, 45, 38.5)] = 2  # a thin frame below it
    (road, car) = outlines_of(write_scene(ids), 4)
    assert road.id == 2 and len(car.parts[0]) > len(alone.parts[0])


def test_nothing(write_scene: Callable[..., Scene]) -> None:
    scene = write_scene(np.zeros((4, 5), dtype=np.int32))
    assert outlines_of(scene) == [] == outlines_of(scene, 1)


def test_filled_as_by_pycocotools() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        height, width = rng.integers(1, 25, 2).tolist()
        points = rng.integers(0, 2 * np.array([width, height]) + 1, (rng.integers(3, 12), 2)) / 2
        points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
        if len(points) < 3:
            continue
        rles = mask_utils.frPyObjects([points.ravel().tolist()], height, width)
        expected = mask_utils.decode(mask_utils.merge(rles)) > 0
        assert np.array_equal(_fill_polygon(points, (height, width)), expected)


def test_many_objects_side_by_side(write_scene: Callable[..., Scene]) -> None:
    """Cells that fill the image: what one gains, its neighbours lose."""
    rng = np.random.default_rng(0)
    seeds = np.ones((80, 80), dtype=np.uint8)
    seeds[tuple(rng.integers(0, 80, (2, 6)))] = 0
    _, ids = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5)
    scene = write_scene(ids)
    outlines = outlines_of(scene, 2)
    for draw in (drawn_by_pillow, drawn_by_pycocotools):
        drawn = draw(outlines, ids.shape)
        assert min(iou(drawn == k, ids == k) for k in range(1, 7)) >= MIN_IOU
