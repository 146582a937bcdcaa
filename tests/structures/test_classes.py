"""The class table of a data set."""

from types import SimpleNamespace

from effps_solo.structures.classes import (
    PanopticClass,
    classes_from_metadata,
    distinct_colors,
    is_color,
    list_of_classes,
    metadata_of_classes,
)
from effps_solo.structures.label_space import PanopticLabelSpace


def test_things_that_come_after_stuff() -> None:
    metadata = SimpleNamespace(
        thing_dataset_id_to_contiguous_id={26: 1},
        stuff_dataset_id_to_contiguous_id={7: 0},
        thing_classes=["road", "car"],
        stuff_classes=["road", "car"],
        thing_colors=[(0, 0, 0), (1, 2, 3)],
        stuff_colors=[[4, 5, 6], [0, 0, 0]],
    )
    assert classes_from_metadata(metadata) == (
        PanopticClass("road", False, 7, (4, 5, 6)),
        PanopticClass("car", True, 26, (1, 2, 3)),
    )


def test_a_data_set_without_colors() -> None:
    metadata = SimpleNamespace(
        thing_dataset_id_to_contiguous_id={26: 1},
        stuff_dataset_id_to_contiguous_id={7: 0},
        thing_classes=["road", "car"],
        stuff_classes=["road", "car"],
    )
    road, car = classes_from_metadata(metadata)
    assert road.color != car.color
    metadata.stuff_colors = [[1, 2, 3]]
    metadata.thing_colors = []  # fewer than classes
    own, made = classes_from_metadata(metadata)
    assert own.color == (1, 2, 3) and made.color == car.color


def test_colors_differ() -> None:
    colors = distinct_colors(255)
    assert len({tuple(color) for color in colors}) == 255
    assert all(0 <= channel <= 255 for color in colors for channel in color)
    assert distinct_colors(3) == colors[:3]
    assert distinct_colors(0) == []


def test_what_a_json_may_have_as_color() -> None:
    assert all(map(is_color, (None, [0, 0, 255], (1, 2, 3))))
    assert not any(map(is_color, ("#ff0000", [1, 2], [1, 2, 256], [1.0, 2, 3], [True, 1, 1], 7)))


def test_metadata_give_the_classes_back() -> None:
    classes = (
        PanopticClass("road", False, 7, (4, 5, 6)),
        PanopticClass("car", True, 26, (1, 2, 3)),
    )
    for some in (classes, classes[:1], classes[1:]):
        metadata = SimpleNamespace(**metadata_of_classes(some))
        assert classes_from_metadata(metadata) == some
        assert PanopticLabelSpace.from_metadata(metadata).ignore_label == 255
    many = [PanopticClass(str(i), False, i, (0, 0, 0)) for i in range(300)]
    space = PanopticLabelSpace.from_metadata(SimpleNamespace(**metadata_of_classes(many)))
    assert (space.num_classes, space.ignore_label) == (300, 300)


def test_classes_in_words() -> None:
    road, car = (PanopticClass(n, n == "car", 0, (0, 0, 0)) for n in ("road", "car"))
    assert list_of_classes([road, car, road]) == "things car; stuff road, road"
    assert list_of_classes([road]) == "stuff road" and list_of_classes([]) == ""
