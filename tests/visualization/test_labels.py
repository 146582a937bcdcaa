"""Names of segments, fonts and legends."""

from typing import Any, List

import numpy as np
import pytest

from effps_solo.structures.classes import PanopticClass
from effps_solo.visualization import labels as visualization
from effps_solo.visualization.fonts import font_for
from effps_solo.visualization.overlay import panoptic_overlay

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


def labels_of(ids: np.ndarray, segments: List[Any], monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """The labels that are drawn."""
    placed: List[Any] = []
    place = visualization._place_labels

    def record(*args: Any) -> Any:
        placed.extend(place(*args))
        return placed

    with monkeypatch.context() as patch:
        patch.setattr(visualization, "_place_labels", record)
        panoptic_overlay(black(*ids.shape), ids, segments, CLASSES, labels=True)
    return placed


def test_a_label_lies_inside_its_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.ones((200, 300), dtype=np.int32)
    ids[50:150, 100:220] = 3
    road, car = labels_of(ids, [thing(3), STUFF], monkeypatch)
    assert (road.text, car.text) == ("Straße", "car 0.88")
    for label, number in ((road, 1), (car, 3)):
        plate = ids[label.y : label.y + label.height, label.x : label.x + label.width]
        assert (plate == number).all() and plate.size == label.width * label.height
    assert abs(car.x + car.width / 2 - 160) < 15 and abs(car.y + car.height / 2 - 100) < 15


def test_stuff_has_no_label_on_other_stuff(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would name what is not meant."""
    verge = {**STUFF, "id": 2, "category_id": 3}
    ids = np.ones((200, 300), dtype=np.int32)
    ids[100:106] = 2  # lower than a label
    labels = labels_of(ids, [STUFF, verge], monkeypatch)
    assert [label.text for label in labels] == ["Straße"]
    for shift in range(3):  # its box is large
        ids[np.arange(197) + shift, np.arange(197)] = 2
    labels = labels_of(ids, [STUFF, verge], monkeypatch)
    assert [label.text for label in labels] == ["Straße"]


def test_a_label_lies_beside_a_small_thing_and_covers_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = np.zeros((200, 300), dtype=np.int32)
    ids[100:106, 150:156] = 3
    (label,) = labels_of(ids, [thing(3)], monkeypatch)
    assert label.y + label.height <= 100 and label.x < 150 and label.x + label.width > 156
    ids[80:96, 140:170] = 4  # in the way
    labels = {label.text: label for label in labels_of(ids, [thing(3), thing(4, 1)], monkeypatch)}
    assert labels["car 0.88"].y >= 106
    ids[110:130, 140:170] = 5
    texts = [label.text for label in labels_of(ids, [thing(3), thing(4), thing(5, 1)], monkeypatch)]
    assert texts.count("car 0.88") == 1  # of 4; there is no room for that of 3


def test_small_stuff_and_small_pictures_have_no_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = np.zeros((200, 300), dtype=np.int32)
    ids[:10, :10] = 1
    assert labels_of(ids, [STUFF], monkeypatch) == []
    assert labels_of(np.full((8, 9), 3), [thing(3)], monkeypatch) == []


def test_labels_are_drawn() -> None:
    ids = np.full((60, 200), 3, dtype=np.int32)
    plain = panoptic_overlay(black(60, 200), ids, [thing(3)], CLASSES)
    labelled = panoptic_overlay(black(60, 200), ids, [thing(3)], CLASSES, labels=True)
    changed = (plain != labelled).any(axis=2)
    assert 100 < changed.sum() < 0.3 * ids.size
    assert (labelled > 230).all(axis=2).sum() > 20  # ink


def test_letters_beyond_ascii_are_no_boxes() -> None:
    """A font draws the same box for every letter that it lacks."""
    font = font_for((400, 400), ["Straße"])
    assert len({bytes(font.getmask(letter)) for letter in "ßäñø"}) == 4


def test_the_legend_names_the_classes_that_are_there() -> None:
    ids = np.ones((40, 400), dtype=np.int32)
    ids[:, 200:] = 2
    stuff = [STUFF, {**STUFF, "id": 2, "category_id": 3}, thing(8, 1)]
    picture = panoptic_overlay(black(40, 400), ids, stuff, CLASSES, legend=True)
    strip = picture[40:]
    assert picture.shape[1] == 400 and 10 < len(strip) < 40
    swatches = {color for color in map(tuple, strip.reshape(-1, 3).tolist())}
    assert (10, 100, 50) in swatches and (0, 0, 0) in swatches and (0, 0, 200) not in swatches
    narrow = panoptic_overlay(
        black(400, 50), ids.T[:, :40].repeat(2, 1)[:, :50], stuff, CLASSES, legend=True
    )
    assert len(narrow) - 400 > len(strip)  # in two lines
