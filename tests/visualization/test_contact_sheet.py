"""Contact sheets: pixels where they are known, names, legends, and nothing to show."""

from dataclasses import replace
from typing import Any, Dict, List

import numpy as np
import pytest
import torch

from effps_solo.data.mapper import instances_from_objects
from effps_solo.structures.classes import PanopticClass
from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.visualization.contact_sheet import (
    LINE_HEIGHT,
    RED,
    WHITE,
    View,
    _legend,
    contact_sheet,
    draw_view,
    view_of,
)

CLASSES = (
    PanopticClass("road", False, 7, (100, 0, 0)),
    PanopticClass("car", True, 5, (0, 100, 0)),
    PanopticClass("person", True, 6, (0, 0, 100)),
)


def mapped(objects: np.ndarray, classes: List[int], sem_seg: np.ndarray) -> Dict[str, Any]:
    """What a mapper returns for a light grey image; ``classes`` are thing indices."""
    return {
        "image": torch.full((3, *objects.shape), 200, dtype=torch.uint8),
        "sem_seg": torch.from_numpy(sem_seg).long(),
        "instances": instances_from_objects(objects, classes),
    }


@pytest.fixture
def scene() -> Dict[str, Any]:
    """60 x 80: void on top, road below; a car, one pixel of a person, a group of persons."""
    sem_seg, objects = np.zeros((60, 80), np.int64), np.zeros((60, 80), np.int32)
    sem_seg[:10] = 255
    sem_seg[20:40, 10:60], objects[20:40, 10:60] = 1, 2
    sem_seg[48, 4], objects[48, 4] = 2, 3
    sem_seg[44:56, 40:72] = 2
    return mapped(objects, [0, 0, 1], sem_seg)  # object 1 lies outside the crop


def make_view(scene: Dict[str, Any], width: int = 80) -> View:
    label_space = PanopticLabelSpace({5: 1, 6: 2}, {7: 0})
    return view_of(scene, label_space, title="a.png", width=width)


def test_the_view_holds_what_the_mapper_gave(scene: Dict[str, Any]) -> None:
    view = make_view(scene)
    assert view.classes == [1, 2] and view.lost == [False, True]
    assert view.caption == "a.png: 80x60, things: 2"
    assert (view.sem_seg == scene["sem_seg"].numpy()).all()
    assert (view.objects[20:40, 10:60] == 1).all() and view.objects[48, 4] == 2
    assert (view.objects > 0).sum() == 1001


def test_views_are_scaled_to_the_width_of_the_tile(scene: Dict[str, Any]) -> None:
    for width in (160, 40):
        view = make_view(scene, width)
        shape = (width * 60 // 80, width)
        assert view.image.shape == (*shape, 3)
        assert view.sem_seg.shape == view.objects.shape == shape
        assert set(np.unique(view.sem_seg)) == {0, 1, 2, 255}


def test_channels_are_turned_round(scene: Dict[str, Any]) -> None:
    scene["image"][0] = 0
    label_space = PanopticLabelSpace({5: 1, 6: 2}, {7: 0})
    view = view_of(scene, label_space, title="", width=80, is_bgr=True)
    assert view.image[0, 0].tolist() == [200, 200, 0]


def test_pixels(scene: Dict[str, Any]) -> None:
    picture = draw_view(make_view(scene), CLASSES)
    assert picture[5, 5].tolist() == [80, 80, 80]  # void
    assert picture[15, 5].tolist() == [150, 100, 100]  # road
    red, green, blue = picture[38, 12].astype(int)
    assert red == blue == 100 and green != 150  # the car in a shade of its own
    assert picture[20, 30].tolist() == picture[30, 59].tolist() == list(WHITE)
    assert picture[48, 4].tolist() == list(RED)
    stripes = {tuple(pixel) for pixel in picture[50, 45:60].tolist()}
    assert stripes == {(200, 200, 200), (100, 100, 150)}


def test_names_are_written_where_there_is_room(scene: Dict[str, Any]) -> None:
    named = draw_view(make_view(scene), CLASSES)
    nameless = draw_view(make_view(scene), [replace(c, name="") for c in CLASSES])
    different = (named != nameless).any(axis=-1)
    assert different[20:40, 10:60].any()
    different[18:42, 8:62] = False
    assert not different.any()  # neither on the pixel nor on the group
    alone = [*CLASSES[:2], replace(CLASSES[2], isthing=False)]
    assert (draw_view(make_view(scene), alone)[20:40, 10:60] == nameless[20:40, 10:60]).all()


def test_the_legend_tells_what_is_shown(scene: Dict[str, Any]) -> None:
    texts = [text for _, text in _legend([make_view(scene)], CLASSES)]
    assert texts == [
        "road",
        "car (thing)",
        "person (thing)",
        "void: grey and dark",
        "stripes: a group of things",
        "outline: too small for masks of stride 4",
    ]
    plain = mapped(np.zeros((8, 8), np.int32), [], np.zeros((8, 8), np.int64))
    assert [text for _, text in _legend([make_view(plain)], CLASSES)] == ["road"]


def test_tiles_lie_side_by_side(scene: Dict[str, Any]) -> None:
    view = make_view(scene)
    sheet = contact_sheet([[view, view], [view]], CLASSES)
    tile = draw_view(view, CLASSES)
    for x, y in ((8, LINE_HEIGHT), (96, LINE_HEIGHT), (8, 2 * LINE_HEIGHT + 60 + 8)):
        assert (sheet[y : y + 60, x : x + 80] == tile).all()
    assert sheet.dtype == np.uint8
    assert (sheet[2 * LINE_HEIGHT + 68 : 2 * LINE_HEIGHT + 120, 96:176] == 255).all()


def test_an_empty_sheet_and_an_image_without_labels() -> None:
    assert (contact_sheet([], CLASSES) == 255).all()
    void = mapped(np.zeros((8, 12), np.int32), [], np.full((8, 12), 255))
    picture = draw_view(make_view(void), CLASSES)
    assert (picture == 80).all()
