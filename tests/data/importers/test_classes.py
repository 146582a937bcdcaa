"""Class lists: ids, labels, the template, and what can be wrong with them."""

from collections import Counter
from pathlib import Path

import pytest

from effps_solo.data.importers.classes import ClassList, Label, read_entries, write_template
from effps_solo.data.importers.files import SourceError


def read(path: Path, text: str) -> ClassList:
    path.write_text(text)
    return ClassList(read_entries(str(path)), str(path))


def test_short_and_long_entries(tmp_path: Path) -> None:
    classes = read(
        tmp_path / "classes.yaml",
        """
        - {name: person, isthing: true}
        - {name: sky, isthing: 0, id: 23, color: [70, 130, 180], labels: [sky, clouds, 7]}
        - {name: car, isthing: 1}
        """,
    )
    assert classes.categories == [
        {"id": 24, "name": "person", "isthing": 1},
        {"id": 23, "name": "sky", "isthing": 0, "color": [70, 130, 180]},
        {"id": 25, "name": "car", "isthing": 1},
    ]
    assert classes.find("clouds") == classes.find(7) == classes.categories[1]
    assert classes.find("person") == classes.categories[0]
    assert classes.find("7") == classes.find(" sky ") == classes.categories[1]
    assert classes.find("tree") is None and classes.find(None) is None


def test_json_and_the_categories_of_coco(tmp_path: Path) -> None:
    classes = read(tmp_path / "c.json", '[{"id": 0, "name": "a", "isthing": 0}]')
    assert classes.categories == [{"id": 0, "name": "a", "isthing": 0}]


def test_the_text_changes_with_the_classes(tmp_path: Path) -> None:
    """A conversion is done anew when it does."""
    path = tmp_path / "c.yaml"
    texts = {
        repr(read(path, f"- {{name: a, isthing: {kind}, labels: [{label}]}}"))
        for kind in (0, 1)
        for label in ("x", "y")
    }
    assert len(texts) == 4


def test_template(tmp_path: Path) -> None:
    path = tmp_path / "new" / "classes.yaml"
    labels = {"car": 3, "traffic light: red": 2, "yes": 4, "Bäume": 1, "007": 1}
    write_template(path, [Label(name, count) for name, count in Counter(labels).most_common()])
    entries = read_entries(str(path))
    assert {entry["name"] for entry in entries} == set(labels)
    assert entries[0] == {"name": "yes", "isthing": 1}
    assert all(ClassList(entries, "f").find(label) for label in labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as YAML"),
        ("a: 1", "holds no list of classes"),
        ("[]", "holds no list of classes"),
        ("[car]", "class car must have name and isthing"),
        ("[{name: car}]", "must have name and isthing"),
        ("[{name: car, isthing: 1, colour: x}]", "may have id, color, labels"),
        ("[{name: 3, isthing: 1}]", "needs a text as name"),
        ("[{name: car, isthing: 2}]", "0 or 1 as isthing"),
        ("[{name: car, isthing: 1, id: x}]", "an integer as id"),
        ("[{name: car, isthing: 1, labels: car}]", "a list as labels"),
        ("[{name: car, isthing: 1, labels: [[1]]}]", "a list as labels"),
        ("[{name: car, isthing: 1, color: [1, 2]}]", "0 .. 255 as color"),
        ("[{name: car, isthing: 1, color: [1, 2, 256]}]", "0 .. 255 as color"),
        ("[{name: a, isthing: 1}, {name: a, isthing: 0}]", "several classes have the name a"),
        (
            "[{name: a, isthing: 1, id: 3}, {name: b, isthing: 0, id: 3}]",
            "several classes have the id 3",
        ),
        (
            "[{name: a, isthing: 1, labels: [x]}, {name: x, isthing: 0}]",
            "several classes have the label x",
        ),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as error:
        read(tmp_path / "classes.yaml", text)
    assert "classes.yaml" in str(error.value)


def test_missing_file() -> None:
    with pytest.raises(SourceError, match="none.yaml cannot be read"):
        read_entries("none.yaml")
