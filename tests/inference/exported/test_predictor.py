"""Running exported models: preprocessing, segments, descriptions and bad files."""

from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
from detectron2.data.transforms import ResizeTransform

from effps_solo.inference.exported import ExportedPredictor, ModelDescription, load_exported
from effps_solo.inference.exported.predictor import recounted, resized_image, segments_of
from effps_solo.structures.classes import PanopticClass
from effps_solo.utils.errors import UserError

CLASSES = (
    PanopticClass("car", True, 26, (0, 0, 142)),
    PanopticClass("road", False, 7, (128, 64, 128)),
)


def describe(**changes: Any) -> ModelDescription:
    values = {
        "image_format": "RGB",
        "input_size": (60, 90),
        "output_size": (40, 60),
        "classes": CLASSES,
        "config": "tiny.yaml",
    }
    return ModelDescription(**{**values, **changes})


class FakeSession:
    """A map of road with a car in the upper left corner; remembers what it was given."""

    def __init__(self, output_size: tuple = ()) -> None:
        self.output_size = output_size
        self.image = np.zeros((0, 0, 3))

    def __call__(self, image: np.ndarray) -> List[np.ndarray]:
        self.image = image
        panoptic_seg = np.full(self.output_size or image.shape[:2], 2, dtype=np.int32)
        panoptic_seg[:8, :8] = 1
        ids, areas = np.unique(panoptic_seg, return_counts=True)
        table = [np.array([0, 1, -1]), np.array([0.9, 0.8, 0.0]), np.array([*areas, 0])]
        return [panoptic_seg, *table, np.array([True, True, False])]


def test_a_description_survives_its_file() -> None:
    assert ModelDescription.from_json(describe().to_json(), "m.onnx") == describe()
    with pytest.raises(UserError, match="m.onnx does not say what its classes are"):
        ModelDescription.from_json("", "m.onnx")
    with pytest.raises(UserError, match="m.onnx has format 99"):
        ModelDescription.from_json('{"format": 99}', "m.onnx")


@pytest.mark.parametrize("text", ['{"format": 1}', "{", "[]", "5", '{"format": "x"}'])
def test_a_damaged_description(text: str) -> None:
    with pytest.raises(UserError, match="the description in m.onnx is damaged"):
        ModelDescription.from_json(text, "m.onnx")


def test_images_are_resized_as_detectron2_does() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    for size in ((30, 46), (13, 17), (20, 31)):
        expected = ResizeTransform(20, 31, *size).apply_image(image)
        assert np.array_equal(resized_image(image, size), expected)


def test_unsure_things_become_void() -> None:
    predictor = ExportedPredictor(FakeSession(output_size=(40, 60)), describe())
    image = np.zeros((40, 60, 3), dtype=np.uint8)
    assert [s["id"] for s in predictor.panoptic(image, 0.9)[1]] == [1, 2]
    panoptic_seg, segments = predictor.panoptic(image, 0.91)
    assert [s["id"] for s in segments] == [2] and panoptic_seg.dtype == np.int32
    assert (panoptic_seg[:8, :8] == 0).all() and (panoptic_seg[8:] == 2).all()
    assert [s["id"] for s in predictor.panoptic(image)[1]] == [1, 2]


def test_one_size_is_resized_and_must_fit() -> None:
    session = FakeSession(output_size=(40, 60))
    predictor = ExportedPredictor(session, describe())
    panoptic_seg, segments = predictor.panoptic(np.zeros((40, 60, 3), dtype=np.uint8))
    assert session.image.shape == (60, 90, 3) and panoptic_seg.shape == (40, 60)
    assert [(s["id"], s["category_id"], s["isthing"], s["area"]) for s in segments] == [
        (1, 0, True, 64),
        (2, 1, False, 40 * 60 - 64),
    ]
    panoptic_seg, segments = predictor.panoptic(np.zeros((80, 120, 3), dtype=np.uint8))
    assert panoptic_seg.shape == (80, 120) and segments[0]["area"] == 4 * 64
    with pytest.raises(
        UserError, match="the image has 40x50 pixels.*exported for 40x60.*--image-size 40 50"
    ):
        predictor.panoptic(np.zeros((40, 50, 3), dtype=np.uint8))


def test_any_size_is_padded_and_cut() -> None:
    session = FakeSession()
    anything = describe(
        input_size=None, output_size=None, size_divisor=32, min_side=96, padding=(1, 2, 3)
    )
    assert ModelDescription.from_json(anything.to_json(), "m.onnx") == anything
    predictor = ExportedPredictor(session, anything)
    image = np.full((40, 100, 3), 9, dtype=np.uint8)
    panoptic_seg, segments = predictor.panoptic(image)
    assert session.image.shape == (96, 128, 3)
    assert (session.image[:40, :100] == 9).all()
    assert (session.image[40:] == (1, 2, 3)).all() and (session.image[:, 100:] == (1, 2, 3)).all()
    assert panoptic_seg.shape == (40, 100)
    assert [s["area"] for s in segments] == [64, 40 * 100 - 64]
    whole = np.full((96, 160, 3), 9, dtype=np.uint8)
    assert predictor.panoptic(whole)[0].shape == (96, 160)
    assert np.array_equal(session.image, whole)


def test_segments_without_rows() -> None:
    nothing = np.zeros(3)
    assert segments_of(nothing - 1, nothing, nothing, nothing > 0, [True]) == []
    assert recounted([], np.zeros((2, 2), dtype=np.int32)) == []


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no exported model: its name must end in .onnx"):
        load_exported(tmp_path / "model.pth")
    for suffix in (".onnx", ".xml", ".pt2"):
        path = tmp_path / f"model{suffix}"
        with pytest.raises(UserError, match="does not exist"):
            load_exported(path)
        path.write_bytes(b"this is no model")
        with pytest.raises(UserError, match="cannot be opened"):
            load_exported(path)
