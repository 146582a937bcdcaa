"""A folder of predictions, begun anew or resumed."""

import json
import os
from pathlib import Path
from typing import Any, Dict, Iterator

import numpy as np
import pytest
from PIL import Image

from effps_solo.__main__ import main
from effps_solo.inference.labels import FORMATS
from effps_solo.inference.labels.build import build_label_writer
from effps_solo.inference.labels.coco import CocoWriter
from effps_solo.inference.labels.labelme import LabelmeWriter
from effps_solo.inference.result import PanopticResult
from effps_solo.inference.writer import PanopticWriter
from effps_solo.structures.classes import PanopticClass
from effps_solo.utils.errors import UserError

CLASSES = (PanopticClass("car", True, 26, (0, 0, 142)),)


SEGMENTS = [{"id": 3, "category_id": 0, "isthing": True, "score": 0.5, "area": 3}]


def result() -> PanopticResult:
    ids = np.array([[0, 3], [3, 3]])
    return PanopticResult.from_prediction(np.zeros((2, 2, 3), np.uint8), ids, SEGMENTS, CLASSES)


def test_resumed(tmp_path: Path) -> None:
    writer = PanopticWriter(tmp_path, CLASSES, labels=False, legend=False)
    for name in ("x/a.jpg", "y/a.jpg"):
        writer.add(Path(name), result())
    writer.write_json()
    again = PanopticWriter(tmp_path, CLASSES, resume=True)
    assert len(again) == 2 and again.done == {
        os.path.abspath("x/a.jpg"),
        os.path.abspath("y/a.jpg"),
    }
    again.add(Path("z/a.jpg"), result())
    content = json.loads(again.write_json().read_text())
    names = [a["file_name"] for a in content["annotations"]]
    assert names == ["a_panoptic.png", "a_1_panoptic.png", "a_2_panoptic.png"]
    assert [i["id"] for i in content["images"]] == [1, 2, 3]
    assert len(PanopticWriter(tmp_path, CLASSES)) == 0


class Counted(set):
    """Counts how often it is asked for a member."""

    asked = 0

    def __contains__(self, item: object) -> bool:
        self.asked += 1
        return super().__contains__(item)


def test_the_work_for_an_image_does_not_grow_with_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PanopticResult, "save_pictures", lambda *_, **__: None)
    writer, one, number = PanopticWriter(tmp_path, CLASSES), result(), 100
    writer._names = Counted()

    class Entries(list):
        def __iter__(self) -> Iterator[Dict[str, Any]]:
            raise AssertionError("all entries are read for one image")

    writer._entries = Entries()
    for folder in range(number):
        writer.add(Path(f"{folder}/frame.jpg"), one)
    assert len(writer) == number and writer._names.asked < 3 * number
    assert [list.__getitem__(writer._entries, k)["image"]["id"] for k in (0, 1, 99)] == [1, 2, 100]
    assert {"frame", "frame_1", "frame_99"} < writer._names and len(writer._names) == number


@pytest.mark.parametrize("earlier", [0, 1, 2])
def test_images_are_named_below_their_common_folder(tmp_path: Path, earlier: int) -> None:
    """However many of them an earlier run has done; one folder needs no name."""
    paths = [Path(f"photos/{name}.jpg") for name in ("x/a", "x/b", "y/z/a")]
    expected = [["a.jpg", "b.jpg", "a.jpg"][:n] for n in range(3)] + [
        ["x/a.jpg", "x/b.jpg", "y/z/a.jpg"]
    ]
    writer = PanopticWriter(tmp_path, CLASSES)
    for number, path in enumerate(paths, 1):
        if number == earlier + 1:
            writer.close()
            writer = PanopticWriter(tmp_path, CLASSES, resume=True)
        writer.add(path, result())
        content = json.loads(writer.write_json().read_text())
        assert [image["file_name"] for image in content["images"]] == expected[number]


@pytest.mark.parametrize("form", FORMATS)
def test_labels_of_images_with_one_name(tmp_path: Path, form: str) -> None:
    """Those of each image are imported again, in a data set that holds both."""
    out, boxes = tmp_path / "out", {"x": (2, 9), "y": (12, 30)}
    writer = PanopticWriter(
        out, CLASSES, label_writer=build_label_writer(form, out, CLASSES, tolerance=0)
    )
    for name, (start, stop) in boxes.items():
        pixels = np.random.default_rng(start).integers(0, 256, (20, 40, 3), np.uint8)
        ids = np.zeros((20, 40), int)
        ids[5:15, start:stop] = 3
        path = tmp_path / "photos" / name / "a.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(pixels).save(path)
        writer.add(path, PanopticResult.from_prediction(pixels, ids, SEGMENTS, CLASSES))
    writer.close()
    kind, file = {
        "labelme": ("labelme", "labelme"),
        "coco": ("coco-instances", "instances.json"),
        "cvat": ("cvat", "annotations.xml"),
    }[form]
    words = ["--from", kind, "--annotations", str(out / file), "--images", str(tmp_path / "photos")]
    words += ["--stuff", "--output", str(tmp_path / "set"), "--workers", "1"]
    assert main(["import-dataset", *words]) == 0
    content = json.loads((tmp_path / "set" / "panoptic_train.json").read_text())
    found = {
        image["file_name"]: [segment["bbox"] for segment in annotation["segments_info"]]
        for image, annotation in zip(content["images"], content["annotations"])
    }
    assert found == {
        f"{name}/a.png": [[start, 5, stop - start, 10]] for name, (start, stop) in boxes.items()
    }
    assert (
        main(["check-dataset", "--workers", "1", "--description", str(tmp_path / "set/set.yaml")])
        == 0
    )


def test_names_that_look_like_numbered_ones(tmp_path: Path) -> None:
    writer = PanopticWriter(tmp_path, CLASSES, labels=False, legend=False)
    for name in ("a_1.jpg", "x/a.jpg", "y/a.jpg", "x/a_1.jpg", "z/a.jpg"):
        writer.add(Path(name), result())
    content = json.loads(writer.write_json().read_text())
    names = [a["file_name"].removesuffix("_panoptic.png") for a in content["annotations"]]
    assert names == ["a_1", "a", "a_2", "a_1_1", "a_3"]


def test_what_is_lost_is_not_done(tmp_path: Path) -> None:
    writer = PanopticWriter(tmp_path, CLASSES)
    writer.add(Path("a.jpg"), result()), writer.add(Path("b.jpg"), result())
    writer.write_json()
    (tmp_path / "a_panoptic.png").unlink()
    again = PanopticWriter(tmp_path, CLASSES, resume=True)
    assert again.done == {os.path.abspath("b.jpg")}
    again.add(Path("a.jpg"), result())
    content = json.loads(again.write_json().read_text())
    assert len({i["id"] for i in content["images"]}) == 2


@pytest.mark.parametrize("content", ["", "[]", '{"images": []}'])
def test_a_damaged_json(tmp_path: Path, content: str) -> None:
    (tmp_path / "panoptic.json").write_text(content)
    with pytest.raises(UserError, match="panoptic.json cannot be resumed from"):
        PanopticWriter(tmp_path, CLASSES, resume=True)


def test_a_json_of_somebody_else(tmp_path: Path) -> None:
    content = {"images": [{"id": 1}], "annotations": [{"image_id": 1, "file_name": "x.png"}]}
    (tmp_path / "panoptic.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="was not made by"):
        PanopticWriter(tmp_path, CLASSES, resume=True)


def test_a_folder_is_known_by_any_of_its_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = PanopticWriter(tmp_path / "out", CLASSES)
    monkeypatch.chdir(tmp_path)
    writer.add(Path("a.jpg"), result())
    writer.write_json()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = PanopticWriter(tmp_path / "out", CLASSES, resume=True)
    assert again.done == {str(tmp_path / "a.jpg")}


def test_a_json_of_a_model_with_other_classes(tmp_path: Path) -> None:
    writer = PanopticWriter(tmp_path, CLASSES)
    writer.add(Path("a.jpg"), result())
    writer.write_json()
    with pytest.raises(UserError, match="of a model with other classes; name another folder"):
        PanopticWriter(tmp_path, (PanopticClass("cat", True, 1, (9, 9, 9)),), resume=True)


def labels_of(folder: Path, **options: bool) -> PanopticWriter:
    return PanopticWriter(folder, CLASSES, label_writer=CocoWriter(folder, CLASSES), **options)


def test_the_coco_file_is_whole_after_a_resumed_run(tmp_path: Path) -> None:
    first = PanopticWriter(tmp_path, CLASSES)  # without labels
    first.add(Path("a.jpg"), result())
    first.close()
    assert not (tmp_path / "instances.json").exists()
    again = labels_of(tmp_path, resume=True)
    again.add_earlier_labels()
    again.add(Path("b.jpg"), result())
    again.close()
    content = json.loads((tmp_path / "instances.json").read_text())
    assert [(i["id"], i["file_name"]) for i in content["images"]] == [(1, "a.jpg"), (2, "b.jpg")]
    a, b = content["annotations"]
    assert (a["image_id"], b["image_id"]) == (1, 2) and a["id"] != b["id"]
    assert a["segmentation"] == b["segmentation"] and a["score"] == b["score"] == 0.5


def test_labels_that_somebody_corrected_stay(tmp_path: Path) -> None:
    first = PanopticWriter(tmp_path, CLASSES)
    for name in "ab":
        first.add(Path(f"{name}.jpg"), result())
    first.close()
    corrected = tmp_path / "labelme" / "a.json"
    corrected.parent.mkdir()
    corrected.write_text("corrected")
    labels = LabelmeWriter(tmp_path, CLASSES)
    again = PanopticWriter(tmp_path, CLASSES, resume=True, label_writer=labels)
    again.add_earlier_labels()
    again.close()
    assert corrected.read_text() == "corrected"
    assert len(json.loads((tmp_path / "labelme" / "b.json").read_text())["shapes"]) == 1


def test_without_labels_nothing_is_made_up_for(tmp_path: Path) -> None:
    writer = PanopticWriter(tmp_path, CLASSES)
    writer.add_earlier_labels()
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["panoptic.json"]
