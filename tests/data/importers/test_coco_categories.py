"""What JSON files write for ids, flags, colours and categories."""

from typing import Any

import pytest

from effps_solo.data.importers.classes import Label
from effps_solo.data.importers.coco_categories import (
    Category,
    declared_labels,
    flag,
    id_key,
    read_categories,
    rgb,
)
from effps_solo.data.importers.files import SourceError


@pytest.mark.parametrize(("value", "key"), [(1, "1"), ("1", "1"), (1.0, "1"), ("a1 ", "a1")])
def test_ids(value: Any, key: str) -> None:
    assert id_key(value, "") == key


@pytest.mark.parametrize("value", [None, True, [1], {}, 1.5, float("nan")])
def test_what_is_no_id(value: Any) -> None:
    with pytest.raises(SourceError, match="the id is .*; it must be a whole number"):
        id_key(value, "the id")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, 1),
        (0, 0),
        ("0", 0),
        ("1", 1),
        (True, 1),
        ("False", 0),
        (1.0, 1),
        (None, None),
        ([], None),
    ],
)
def test_flags(value: Any, expected: Any) -> None:
    assert flag(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ("#0aFF10", [10, 255, 16]),
        ("red", None),
        ("#fff", None),
        ([1, 2], None),
        ([1, 2, 256], None),
        ([0.5, 0.5, 0.5], None),
        (None, None),
    ],
)
def test_colours(value: Any, expected: Any) -> None:
    assert rgb(value) == expected


def test_categories_as_labels() -> None:
    entries = [{"id": 0, "name": 3, "isthing": "0"}, {"id": "b", "name": None, "color": "#000000"}]
    found = read_categories([*entries, entries[0]], {"0": 4}, "c.json")
    assert found == [
        Category("0", "3", 4, 0, None),
        Category("b", "category b", 0, None, [0, 0, 0]),
    ]
    labels, unused = declared_labels(found)
    assert labels == {"3": Label("3", 4, 0, 0, None)}
    assert unused == {"category b": "category b (id b)"}
    assert declared_labels([]) == ({}, {})
    labels, unused = declared_labels([one._replace(num_annotations=0) for one in found])
    assert list(labels) == ["3", "category b"] and unused == {}


def test_a_label_that_is_alone_is_a_thing_unless_the_file_says_otherwise() -> None:
    assert declared_labels([Category("1", "cell", 1, None, None)])[0]["cell"].isthing == 1
    assert declared_labels([Category("1", "road", 1, 0, None)])[0]["road"].isthing == 0
    both = [Category("1", "cell", 1, None, None), Category("2", "dish", 1, None, None)]
    assert {label.isthing for label in declared_labels(both)[0].values()} == {None}
