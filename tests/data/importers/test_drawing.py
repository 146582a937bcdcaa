"""Which shape lies on top, by hand, and that each is drawn or counted."""

from typing import Any, List, Tuple

import numpy as np
import pytest

from effps_solo.data.importers.canvas import SegmentCanvas
from effps_solo.data.importers.classes import ClassList
from effps_solo.data.importers.drawing import FILE_ORDER, LATER_ON_TOP, SMALL_ON_TOP, ShapeReader
from effps_solo.data.importers.files import SourceError
from effps_solo.data.importers.rasterize import CORNERS
from effps_solo.data.importers.source import AnnotatedImage, Shape

CLASSES = ClassList([{"name": "car", "isthing": 1}, {"name": "road", "isthing": 0}], "")


def bar(label: str, x0: int, x1: int, **fields: Any) -> Shape:
    """Columns from and to of an image with one row."""
    points = [[x0, 0], [x1, 0], [x1, 1], [x0, 1]]
    return Shape(f"bar {x0}", label, "polygon", points, **fields)


def read(shapes: List[Shape], size: Tuple[int, int]) -> AnnotatedImage:
    return AnnotatedImage("a.json", size, shapes)


def draw(shapes: List[Shape], overlap: str = FILE_ORDER, **options: Any) -> Any:
    canvas = SegmentCanvas(1, 10, **options)
    ShapeReader(read, overlap, CORNERS).draw(shapes, CLASSES, canvas)
    ids, info = canvas.result()
    counts = canvas.counts
    assert counts.num_annotations == len(shapes)
    assert counts.num_drawn + sum(counts.left_out.values()) == len(shapes)
    names = {0: ".", **{s["id"]: "r" if s["category_id"] == 2 else "c" for s in info}}
    names.update({s["id"]: "C" for s in info if s["iscrowd"]})
    return "".join(names[k] for k in ids[0].tolist()), ids[0], dict(counts.left_out)


@pytest.mark.parametrize(
    ("overlap", "expected"),
    [
        (SMALL_ON_TOP, "1111223334"),
        (LATER_ON_TOP, "1111113334"),
        (FILE_ORDER, "1111113333"),
    ],
)
def test_what_lies_on_top(overlap: str, expected: str) -> None:
    """A small car under a large one, a third, and road that comes last; segments by their columns."""
    cars = [bar("car", 4, 6), bar("car", 0, 6), bar("car", 6, 9)]
    _, ids, left_out = draw([*cars, bar("road", 6, 10)], overlap)
    number = {}
    for order, column in zip("1234", (0, 4, 6, 9)):
        number.setdefault(ids[column], order)
    assert "".join(number[k] for k in ids.tolist()) == expected
    hidden = {SMALL_ON_TOP: 0, LATER_ON_TOP: 1, FILE_ORDER: 2}[overlap]
    assert left_out == ({"covered entirely by others": hidden} if hidden else {})


def test_crowds_lie_below_objects_and_can_be_objects() -> None:
    shapes = [bar("car", 0, 8), bar("car", 2, 4, crowd=True), bar("car", 6, 10, crowd=True)]
    assert draw(shapes, SMALL_ON_TOP)[0] == "ccccccccCC"
    text, ids, _ = draw(shapes, SMALL_ON_TOP, crowds_as_objects=True)
    assert text == "c" * 10 and len(np.unique(ids)) == 3


def test_groups_of_labels() -> None:
    shapes = [bar("cargroup", 0, 3, crowd_of="car"), bar("roadgroup", 3, 6, crowd_of="road")]
    text, _, left_out = draw(shapes)
    assert text == "CCC......."
    assert left_out == {"with the label 'roadgroup', which no class names: void": 1}


def test_shapes_with_one_key_are_one_object() -> None:
    shapes = [bar("car", 0, 2, object_key="a"), bar("car", 4, 6, object_key="a"), bar("car", 8, 9)]
    _, ids, _ = draw(shapes)
    assert ids.tolist() == [1, 1, 0, 0, 1, 1, 0, 0, 2, 0]


def test_labels_without_a_class_make_holes() -> None:
    for overlap in (SMALL_ON_TOP, FILE_ORDER):
        text, _, left_out = draw([bar("road", 0, 10), bar("tree", 4, 6)], overlap)
        assert text == "rrrr..rrrr"
        assert left_out == {"with the label 'tree', which no class names: void": 1}


def test_reasons() -> None:
    shapes = [
        bar("car", 0, 2, left_out="deleted"),
        bar("car", 30, 40),
        Shape("x", "car", "line", [[0, 0], [1, 1]]),
    ]
    assert draw(shapes)[2] == {
        "deleted": 1,
        "without a pixel in the image": 1,
        "of the kind 'line', which has no area": 1,
    }
    assert draw([])[2] == {}
    with pytest.raises(SourceError, match="a.json: bar 0: its point .* lies far outside"):
        draw([bar("car", 0, 10**6)])
