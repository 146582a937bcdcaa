"""Views of panoptic maps."""

import numpy as np

from effps_solo.structures.classes import PanopticClass
from effps_solo.visualization.contact_sheet import contact_sheet, draw_view
from effps_solo.visualization.panoptic_view import view_of_segments

CLASSES = (
    PanopticClass("road", False, 7, (100, 0, 0)),
    PanopticClass("car", True, 26, (0, 0, 200)),
)


def test_things_stuff_crowds_and_void() -> None:
    ids = np.array([[1, 1, 7, 7], [1, 5, 5, 0]])
    info = [
        {"id": 1, "category_id": 0, "isthing": False},
        {"id": 5, "category_id": 1, "isthing": True, "iscrowd": 0},
        {"id": 7, "category_id": 1, "isthing": True, "iscrowd": 1},
    ]
    image = np.full((2, 4, 3), 90, dtype=np.uint8)
    view = view_of_segments(image, ids, info, caption="a", width=4)
    assert view.sem_seg.tolist() == [[0, 0, 1, 1], [0, 1, 1, -1]]
    assert view.objects.tolist() == [[0, 0, 0, 0], [0, 1, 1, 0]]
    assert view.classes == [1] and view.lost == [False] and view.caption == "a"
    assert draw_view(view, CLASSES)[1, 1].tolist() == [255, 255, 255]  # the border of the car


def test_scaled() -> None:
    ids = np.array([[3, 0], [0, 3]])
    view = view_of_segments(
        np.zeros((2, 2, 3), np.uint8),
        ids,
        [{"id": 3, "category_id": 0, "isthing": False}],
        caption="",
        width=6,
    )
    assert view.image.shape == (6, 6, 3)
    assert (view.sem_seg >= 0).tolist() == np.kron(ids > 0, np.ones((3, 3), bool)).tolist()


def test_no_segment() -> None:
    view = view_of_segments(
        np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3), np.int32), [], caption="", width=3
    )
    assert (view.sem_seg == -1).all() and view.classes == []
    assert contact_sheet([[view]], CLASSES).shape[2] == 3
