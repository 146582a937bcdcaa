"""Who says which classes there are."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest

from effps_solo.data.importers.class_choice import choose_classes
from effps_solo.data.importers.classes import ClassList, Label, read_entries
from effps_solo.data.importers.files import SourceError
from effps_solo.data.importers.source import Export

CAR, ROAD = Label("car", 5, id=7), Label("road", 2, id=3, color=[1, 2, 3])


def export(*labels: Label) -> Export:
    return Export("", {}, print, "", lambda: list(labels), remarks=("root: left out",))


def categories(choice: Tuple[Optional[ClassList], List[str]]) -> List[Dict[str, Any]]:
    classes, _ = choice
    assert classes is not None
    return classes.categories


def test_nobody_says_it(tmp_path: Path) -> None:
    assert choose_classes(export(CAR, ROAD), tmp_path) == (None, ["root: left out"])
    path = tmp_path / "classes.yaml"
    assert path.read_text().splitlines()[1:] == [
        "# root: left out",
        "- {name: car, isthing: 1, id: 7}  # 5 annotations",
        "- {name: road, isthing: 1, id: 3, color: [1, 2, 3]}  # 2 annotations",
    ]
    path.write_text(path.read_text().replace("road, isthing: 1", "road, isthing: 0"))
    found = categories(choose_classes(export(CAR, ROAD), tmp_path))
    assert [(c["name"], c["isthing"], c["id"]) for c in found] == [("car", 1, 7), ("road", 0, 3)]


def test_the_annotations_say_it_of_all_or_of_none(tmp_path: Path) -> None:
    road = ROAD._replace(isthing=0)
    assert choose_classes(export(CAR, road), tmp_path)[0] is None
    assert read_entries(str(tmp_path / "classes.yaml"))[1]["isthing"] == 0
    (tmp_path / "classes.yaml").unlink()
    found = categories(choose_classes(export(CAR._replace(isthing=1), road), tmp_path))
    assert found == [
        {"id": 7, "name": "car", "isthing": 1},
        {"id": 3, "name": "road", "isthing": 0, "color": [1, 2, 3]},
    ]
    assert not list(tmp_path.iterdir())


def test_unused_categories_are_left_out_unless_a_class_list_has_them(tmp_path: Path) -> None:
    found = replace(export(CAR, ROAD), unused={"root": "root (id 0)", "bus": "bus (id 9)"})
    said = "categories without an annotation are left out: "
    _, remarks = choose_classes(found, tmp_path, stuff=["road"])
    assert remarks == ["root: left out", f"{said}root (id 0), bus (id 9)"]
    (file := tmp_path / "list.yaml").write_text(
        "- {name: car, isthing: 1}\n- {name: bus, isthing: 1}\n"
    )
    assert choose_classes(found, tmp_path, file=str(file))[1][1:] == [f"{said}root (id 0)"]
    file.write_text("- {name: any, isthing: 1, labels: [car, bus, root]}\n")
    assert choose_classes(found, tmp_path, file=str(file))[1] == ["root: left out"]


def test_words_of_the_command_line(tmp_path: Path) -> None:
    found = categories(choose_classes(export(CAR, ROAD), tmp_path, stuff=["road"]))
    assert {c["name"]: c["isthing"] for c in found} == {"car": 1, "road": 0}
    found = categories(choose_classes(export(CAR, ROAD), tmp_path, stuff=[]))
    assert {c["name"]: c["isthing"] for c in found} == {"car": 1, "road": 1}
    said = ROAD._replace(isthing=0)
    choice = choose_classes(export(CAR, said), tmp_path, background="sky")
    assert {c["name"]: c["isthing"] for c in categories(choice)} == {
        "car": 1,
        "road": 0,
        "sky": 0,
    }
    assert choice[0] and choice[0].background == {"id": 8, "name": "sky", "isthing": 0}
    found = categories(choose_classes(export(CAR, ROAD), tmp_path, background="road"))
    assert {c["name"]: c["isthing"] for c in found} == {"car": 1, "road": 0}
    assert not list(tmp_path.iterdir())


def test_labels_of_nothing(tmp_path: Path) -> None:
    """They are told and are no classes; but where no label is used, all are."""
    dog, cat = Label("dog", 0), Label("cat", 0, isthing=0)
    words: Dict[str, Any] = {"stuff": ["road"]}
    choice = choose_classes(export(CAR, dog, ROAD, cat), tmp_path, **words)
    assert [c["name"] for c in categories(choice)] == ["car", "road"]
    assert choice[1] == ["root: left out", "labels of nothing with an area are left out: dog, cat"]
    assert (
        choose_classes(export(dog, ROAD), tmp_path)[1]
        == choose_classes(export(dog, ROAD), tmp_path / "none", stuff=[])[1]
    )
    choice = choose_classes(export(dog), tmp_path, stuff=[])
    assert [c["name"] for c in categories(choice)] == ["dog"] and len(choice[1]) == 1


def test_words_that_cannot_be_meant(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="--stuff names 'raod', .* did you mean 'road'"):
        choose_classes(export(CAR, ROAD), tmp_path, stuff=["raod"])
    with pytest.raises(SourceError, match="--stuff names 'xyz', .* there are car, road"):
        choose_classes(export(CAR, ROAD), tmp_path, stuff=["xyz"])
    with pytest.raises(SourceError, match="--stuff and --classes both say"):
        choose_classes(export(CAR), tmp_path, stuff=[], file="list.yaml")
    with pytest.raises(SourceError, match="--background car is a thing in the annotations"):
        choose_classes(export(CAR._replace(isthing=1), ROAD), tmp_path, background="car")
    with pytest.raises(SourceError, match="no annotation has a label"):
        choose_classes(export(), tmp_path)


def test_words_go_before_the_list_in_the_output_and_a_named_list_before_it(tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text("- {name: tree, isthing: 0}")
    (tmp_path / "list.yaml").write_text("- {name: house, isthing: 0}")

    def names(**words: Any) -> List[str]:
        return [c["name"] for c in categories(choose_classes(export(CAR), tmp_path, **words))]

    assert names() == ["tree"] and names(background="sky") == ["tree", "sky"]
    assert names(stuff=[]) == ["car"]
    assert names(file=str(tmp_path / "list.yaml")) == ["house"]


def test_classes_of_other_splits_stay(tmp_path: Path) -> None:
    """So that splits imported one by one have one class list."""
    bus = {"id": 7, "name": "bus", "isthing": 1}
    train = {"categories": [bus, {"id": 9, "name": "road", "isthing": 1}]}
    (tmp_path / "panoptic_train.json").write_text(json.dumps(train))
    words = {"stuff": ["road"], "splits": ["val"]}
    found = categories(choose_classes(export(CAR, ROAD), tmp_path, **words))
    assert [(c["id"], c["name"], c["isthing"]) for c in found] == [
        (7, "bus", 1),
        (9, "road", 0),
        (10, "car", 1),
    ]
    found = categories(choose_classes(export(CAR, ROAD), tmp_path, stuff=[], splits=["train"]))
    assert [c["name"] for c in found] == ["car", "road"]
