"""The pictures of an image: colours where they belong."""

import base64
import io
from pathlib import Path
from typing import Callable

import numpy as np
import pytest
from PIL import Image

from effps_solo.evaluation.matching import ImageSegments
from effps_solo.evaluation.record import (
    PREDICTIONS_FOLDER,
    RECORD_NAME,
    EvaluatedImage,
    read_record,
)
from effps_solo.report.pictures import (
    FALSE,
    HIT,
    MAX_SIZE,
    MISS,
    VERDICTS,
    WRONG_CLASS,
    data_url,
    picture_of_prediction,
    picture_of_truth,
    picture_of_verdicts,
)
from effps_solo.structures.panoptic_png import encode_segment_ids
from effps_solo.utils.image_io import read_image


@pytest.fixture
def folder(write_run: Callable[..., Path]) -> Path:
    return write_run("run", perfect=0) / "inference" / "street_val"


@pytest.fixture
def image(folder: Path) -> EvaluatedImage:
    return read_record(folder / RECORD_NAME).images[0]


def test_verdicts(folder: Path, image: EvaluatedImage) -> None:
    black = np.zeros((50, 80, 3), dtype=np.uint8)
    picture = picture_of_verdicts(black, image, folder / PREDICTIONS_FOLDER)
    # On black, a segment has 0.6 of its verdict's colour.
    expected = {
        (25, 20): HIT,  # the car
        (9, 55): WRONG_CLASS,  # the person taken for a car
        (25, 55): MISS,  # the person lost in the road, which is found
        (40, 65): FALSE,  # the car where only road is
        (40, 75): HIT,  # the road
    }
    for (y, x), verdict in expected.items():
        assert picture[y, x] == pytest.approx(np.multiply(VERDICTS[verdict].color, 0.6), abs=1)
    assert not picture[49].any()  # void


def test_truth_and_prediction_show_their_own_segments(folder: Path, image: EvaluatedImage) -> None:
    classes = read_record(folder / RECORD_NAME).classes
    pixels = read_image(image.image_file, "RGB")
    truth = picture_of_truth(pixels, image, classes)
    prediction = picture_of_prediction(pixels, image, folder / PREDICTIONS_FOLDER, classes)
    assert truth.shape == prediction.shape == pixels.shape
    road = (45, 75)
    assert (truth[road] == prediction[road]).all()
    assert (truth[25, 55] != prediction[25, 55]).any()


def test_nothing_to_show(tmp_path: Path) -> None:
    for name in ("true.png", "predicted.png"):
        (tmp_path / name).write_bytes(encode_segment_ids(np.zeros((1, 1), dtype=np.int32)))
    nothing = ImageSegments((), (), ())
    image = EvaluatedImage(1, "a", "a.jpg", str(tmp_path / "true.png"), "predicted.png", nothing)
    grey = np.full((1, 1, 3), 77, dtype=np.uint8)
    assert (picture_of_truth(grey, image, ()) == 77).all()
    assert (picture_of_prediction(grey, image, tmp_path, ()) == 77).all()
    assert (picture_of_verdicts(grey, image, tmp_path) == 77).all()


@pytest.mark.parametrize("size", [(1, 1), (30, 40), (2 * MAX_SIZE, 10), (3, 5 * MAX_SIZE)])
def test_data_url(size: tuple) -> None:
    head, _, data = data_url(np.full((*size, 3), (200, 30, 90), dtype=np.uint8)).partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        assert picture.format == "JPEG" and max(picture.size) == min(max(size), MAX_SIZE)
        assert picture.getpixel((0, 0)) == pytest.approx((200, 30, 90), abs=6)
