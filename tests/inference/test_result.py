"""The result of one image: segments, masks, pictures, files, other formats."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from effps_solo.inference.result import PanopticResult, Segment
from effps_solo.structures.classes import PanopticClass
from effps_solo.structures.panoptic_png import read_segment_ids
from effps_solo.utils.errors import UserError

CLASSES = (
    PanopticClass("car", True, 26, (0, 0, 142)),
    PanopticClass("road", False, 7, (128, 64, 128)),
)
IDS = np.array([[2, 2, 0, 0], [2, 300, 300, 0], [2, 2, 300, 0]])
INFO = [
    {"id": 300, "category_id": 0, "isthing": True, "score": 0.91, "area": 3},
    {"id": 2, "category_id": 1, "isthing": False, "score": 0.5, "area": 5},
    {"id": 4, "category_id": 1, "isthing": False, "score": 0.5, "area": 0},  # has no pixel
]


@pytest.fixture
def result() -> PanopticResult:
    image = np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return PanopticResult.from_prediction(image, IDS, INFO, CLASSES)


@pytest.fixture
def empty() -> PanopticResult:
    image = np.zeros((3, 4, 3), dtype=np.uint8)
    return PanopticResult.from_prediction(image, np.zeros((3, 4), dtype=np.int64), [], CLASSES)


def test_segments(result: PanopticResult) -> None:
    assert result.panoptic.dtype == np.int32 and (result.panoptic == IDS).all()
    assert result.segments == (
        Segment(2, 1, "road", False, 0.5, 5, (0, 0, 2, 3)),
        Segment(300, 0, "car", True, 0.91, 3, (1, 1, 2, 2)),
    )


def test_masks(result: PanopticResult) -> None:
    masks = result.masks()
    assert masks.dtype == bool
    assert (masks == np.stack([IDS == 2, IDS == 300])).all()


def test_overlay_options(result: PanopticResult) -> None:
    assert result.overlay(legend=False).shape == (3, 4, 3)
    assert result.overlay().shape[0] > 3


def test_files_read_back(result: PanopticResult, tmp_path: Path) -> None:
    paths = result.save(tmp_path / "new" / "folder", "photo")
    assert [p.name for p in paths] == [
        "photo_overlay.png",
        "photo_panoptic.png",
        "photo_panoptic.json",
    ]
    assert (np.asarray(Image.open(paths[0])) == result.overlay()).all()
    assert (read_segment_ids(str(paths[1])) == IDS).all()
    content = json.loads(paths[2].read_text())
    (annotation,) = content["annotations"]
    assert annotation["file_name"] == "photo_panoptic.png"
    assert [
        (s["id"], s["category_id"], s["area"], s["bbox"]) for s in annotation["segments_info"]
    ] == [
        (2, 7, 5, [0, 0, 2, 3]),
        (300, 26, 3, [1, 1, 2, 2]),
    ]
    assert [(c["id"], c["isthing"]) for c in content["categories"]] == [(26, 1), (7, 0)]
    assert content["images"][0]["id"] == annotation["image_id"]


def test_a_folder_that_is_a_file(result: PanopticResult, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write .*file/photo_overlay.png"):
        result.save(tmp_path / "file", "photo")


def test_coco_instances(result: PanopticResult) -> None:
    (car,) = result.to_coco_instances(image_id=9)
    assert (car["image_id"], car["category_id"], car["bbox"]) == (9, 26, [1, 1, 2, 2])
    json.dumps(car)
    assert (mask_utils.decode(car["segmentation"]) == (IDS == 300)).all()


def test_supervision(result: PanopticResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    found: Any = result.to_supervision()
    assert found.xyxy.tolist() == [[0, 0, 2, 3], [1, 1, 3, 3]]
    assert found.class_id.tolist() == [1, 0] and found.mask.shape == (2, 3, 4)
    assert found.data["class_name"].tolist() == ["road", "car"]


def test_without_supervision(result: PanopticResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ModuleNotFoundError, match="pip install supervision"):
        result.to_supervision()


def test_what_is_printed_fits_on_a_line(result: PanopticResult, empty: PanopticResult) -> None:
    scores = [segment.score for segment in result.segments]
    expected = f"PanopticResult(3x4: road {scores[0]:.2f}, car {scores[1]:.2f})"
    assert repr(result) == expected and repr(empty) == "PanopticResult(3x4: nothing)"


def test_nothing(empty: PanopticResult, tmp_path: Path) -> None:
    assert empty.segments == () and empty.masks().shape == (0, 3, 4)
    assert empty.to_coco_instances() == [] and (empty.overlay() == 0).all()
    assert len(empty.save(tmp_path)) == 3
