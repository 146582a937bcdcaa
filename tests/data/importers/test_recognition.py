"""What files look like, in the words of their tools."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from effps_solo.data.importers import recognition as known
from effps_solo.data.importers.formats import FORMATS
from effps_solo.data.importers.recognition import Guess, recognize

POLYGON = {"label": "car", "polygon": [[1, 1], [9, 1], [9, 9]]}
VIA_IMAGE = {"filename": "a.jpg", "size": 1, "regions": [], "file_attributes": {}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"images": [], "annotations": [], "categories": []}, known.COCO),
        ({"images": [{}], "annotations": [{"bbox": [1, 2, 3, 4]}]}, known.COCO),
        ({"images": [], "annotations": [{"segments_info": []}]}, known.PANOPTIC),
        ({"version": "5.8.0", "shapes": []}, known.LABELME),
        ({"imgHeight": 9, "imgWidth": 9, "objects": [POLYGON]}, known.CITYSCAPES),
        ({"height": 9, "width": 9, "objects": [POLYGON]}, known.VISTAS),
        ({"size": {"height": 9, "width": 9}, "objects": [], "tags": []}, known.SUPERVISELY),
        ({"classes": [], "tags": [], "projectType": "images"}, known.SUPERVISELY),
        ({"annotation": {"filename": "ADE_train_1.jpg", "object": []}}, known.ADE20K),
        ({"info": {}, "categories": {"label": {}}, "items": []}, known.DATUMARO),
        ({"_via_img_metadata": {}, "_via_settings": {}}, known.VIA),
        ({"a.jpg1": VIA_IMAGE}, known.VIA),
        ([{"id": 1, "data": {"image": "a.jpg"}, "annotations": []}], known.LABEL_STUDIO),
        ({}, None),
        ([], None),
        ("text", None),
        (3, None),
        ([[1]], None),
        ({"a": {}}, None),
        ({"annotations": {}}, None),
    ],
)
def test_json(tmp_path: Path, content: Any, expected: Guess) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content))
    assert recognize(str(path)) == (None if expected is None else (str(path), expected))
    assert recognize(str(tmp_path)) == recognize(str(path))


CVAT = "<?xml version='1.0'?>\n<annotations><version>1.1</version><meta></meta><image/>"
VOC = "<annotation><object><name>car</name><bndbox><xmin>1</xmin></bndbox></object></annotation>"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.xml", CVAT, known.CVAT_XML),
        ("a.xml", VOC, known.VOC_BOXES),
        ("a.xml", VOC.replace("bndbox", "polygon"), known.LABELME_XML),
        ("a.xml", "<svg/>", None),
        ("a.txt", "0 0.1 0.1 0.5 0.1 0.5 0.5\n1 0.2 0.2 0.3 0.3 0.1 0.4 0.2 0.2\n", known.YOLO),
        ("a.txt", "0 0.1 0.1 0.5 0.1\n3 0.2 0.2 0.3 0.3", known.YOLO_BOXES),
        ("a.txt", "please read me", None),
        ("a.txt", "0.5 0.1 0.1 0.5 0.1", None),
        ("a.txt", "", None),
        ("data.yaml", "train: ../train/images\nnc: 1\nnames: ['car']\n", known.YOLO),
        ("a.yaml", "name: my_set\n", None),
        ("semantic/a.png", "", known.MASKS),
        ("ADE_train_00000001_seg.png", "", known.ADE20K),
        ("a.png", "", None),
        ("a.json", "{", None),
    ],
)
def test_other_files(tmp_path: Path, name: str, text: str, expected: Guess) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    (tmp_path / "a.jpg").touch()
    assert recognize(str(tmp_path)) == (None if expected is None else (str(path), expected))


def test_the_message_of_every_format_says_what_to_do() -> None:
    guesses = [guess for guess in vars(known).values() if isinstance(guess, Guess)]
    assert len(guesses) >= 15
    for guess in guesses:
        assert guess.what and guess.advice
        assert not guess.format or f"--from {guess.format}" in guess.advice
    assert {guess.format for guess in guesses} == {"", *FORMATS}


def test_nothing() -> None:
    assert recognize("nowhere") is None


YOLO_LINE = "0 0.1 0.1 0.5 0.1 0.5 0.5\n"
CVAT_ENTRY = '<annotations><version>1.1</version><meta/><{} id="0" name="a.jpg"></{}></annotations>'


@pytest.mark.parametrize(
    "name, text, what",
    [
        ("a.txt", YOLO_LINE, "yolo-seg"),
        ("data.yaml", "train: images/train\nnc: 1\nnames: [car]\n", "yolo-seg"),
        ("a.txt", "0 0.5 0.5 0.2 0.2\n", "YOLO boxes"),
        ("annotations.xml", CVAT_ENTRY.format("image", "image"), "cvat"),
        ("annotations.xml", CVAT_ENTRY.format("track", "track"), "CVAT XML of videos"),
        ("a.xml", "<annotation><object></object></annotation>", "boxes in Pascal VOC's XML"),
        ("VOC2012/Annotations/a.xml", "<annotation><object></object></annotation>", "mask-pairs"),
        ("semantic/a.txt", "a", "mask-pairs"),
        ("readme.txt", "hello\n", None),
    ],
)
def test_what_files_look_like(name: str, text: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if what == "mask-pairs":
        folder = "semantic" if name.startswith("semantic") else "VOC2012/SegmentationClass"
        (tmp_path / folder).mkdir(exist_ok=True)
        Image.new("L", (3, 2)).save(tmp_path / folder / "a.png")
    seen = recognize(str(tmp_path))
    assert what in ((None,) if seen is None else (seen[1].format, seen[1].what))
