"""The files of labelme: their fields, and where they lie."""

import json
from pathlib import Path
from typing import Any, Callable, Dict

import numpy as np

from effps_solo.data.importers.classes import read_entries
from effps_solo.inference.labels.labelme import LabelmeWriter
from tests.inference.labels.scenes import CLASSES, Scene


def write(scene: Scene, folder: Path, tolerance: float = 0.0) -> Dict[str, Any]:
    LabelmeWriter(folder, CLASSES, tolerance).add(scene.entry, scene.ids)
    (path,) = folder.rglob("*.json")
    assert path == folder / "labelme" / "a.json"
    content: Dict[str, Any] = json.loads(path.read_text())
    return content


def test_a_file_by_hand(write_scene: Callable[..., Scene], tmp_path: Path) -> None:
    """The fields are those of labelme 5.5 (its own example files)."""
    scene = write_scene(np.array([[2, 2, 0], [0, 0, 300]]))
    content = write(scene, tmp_path / "out")
    common = {"group_id": None, "description": "score 0.75", "shape_type": "polygon"}
    common = {**common, "flags": {}, "mask": None}
    road = [[0.01, 0.01], [1.99, 0.01], [1.99, 0.99], [0.01, 0.99]]
    car = [[2.01, 1.01], [2.99, 1.01], [2.99, 1.99], [2.01, 1.99]]
    assert content == {
        "version": "5.5.0",
        "flags": {},
        "shapes": [
            {"label": '"road" & <kerb>', "points": road, **common},
            {"label": "car", "points": car, **common},
        ],
        "imagePath": "../../images/a.png",
        "imageData": None,
        "imageHeight": 2,
        "imageWidth": 3,
    }
    assert (tmp_path / "out" / "labelme" / content["imagePath"]).resolve() == scene.image


def test_parts_of_an_object_are_a_group(scene: Scene, tmp_path: Path) -> None:
    shapes = write(scene, tmp_path / "out")["shapes"]
    groups = [(shape["label"], shape["group_id"]) for shape in shapes]
    assert groups.count(("car", 5)) == 2 and groups.count(("car", 6)) == 2
    assert groups.count(("car", None)) == 3
    assert all(group is None for label, group in groups if label != "car")


def test_an_image_with_nothing(write_scene: Callable[..., Scene], tmp_path: Path) -> None:
    scene = write_scene(np.zeros((4, 5), dtype=np.int32))
    content = write(scene, tmp_path / "out", tolerance=1)
    assert content["shapes"] == [] and content["imageWidth"] == 5


def test_what_is_there_is_known(scene: Scene, tmp_path: Path) -> None:
    writer = LabelmeWriter(tmp_path / "out", CLASSES)
    assert not writer.has(scene.entry)
    writer.add(scene.entry, scene.ids)
    assert writer.has(scene.entry)


def test_the_classes_of_a_later_import(tmp_path: Path) -> None:
    LabelmeWriter(tmp_path, CLASSES).close()
    assert read_entries(str(tmp_path / "classes.yaml"))[1] == {
        "name": '"road" & <kerb>',
        "isthing": 0,
        "id": 7,
        "color": [128, 64, 128],
    }
