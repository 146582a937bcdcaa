"""Segment ids and the colours that hold them."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from effps_solo.structures.panoptic_png import (
    encode_segment_ids,
    ids_to_rgb,
    read_segment_ids,
    wrong_png_mode,
)
from effps_solo.utils.image_io import ImageError


def test_by_hand() -> None:
    ids = np.array([[0, 255, 256, 65536 * 3 + 256 * 2 + 1]])
    assert ids_to_rgb(ids).tolist() == [[[0, 0, 0], [255, 0, 0], [0, 1, 0], [1, 2, 3]]]


def test_round_trip_through_a_file(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 1 << 24, (7, 9))
    Image.fromarray(ids_to_rgb(ids)).save(tmp_path / "ids.png")
    read = read_segment_ids(str(tmp_path / "ids.png"))
    assert read.dtype == np.int32 and (read == ids).all()


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("RGB", ""),
        ("RGBA", ""),
        ("L", "a PNG with 8-bit grey pixels"),
        ("LA", "a PNG with 8-bit grey with alpha pixels"),
        ("P", "a PNG with 1-bit palette pixels"),
        ("1", "a PNG with 1-bit grey pixels"),
    ],
)
def test_modes(tmp_path: Path, mode: str, words: str) -> None:
    Image.new(mode, (4, 3)).save(tmp_path / "ids.png")
    assert wrong_png_mode(str(tmp_path / "ids.png")) == words


@pytest.mark.parametrize(("channels", "kind"), [(1, "grey"), (3, "RGB")])
def test_16_bits(tmp_path: Path, channels: int, kind: str) -> None:
    pixels: Any = np.full((3, 4, channels), 300, dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "ids.png"), pixels)
    assert wrong_png_mode(str(tmp_path / "ids.png")) == f"a PNG with 16-bit {kind} pixels"


def test_other_formats_and_no_image(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "ids.png", format="BMP")
    assert wrong_png_mode(str(tmp_path / "ids.png")) == "a BMP file"
    (tmp_path / "ids.png").write_text("no image")
    with pytest.raises(ImageError, match="ids.png cannot be read as an image"):
        wrong_png_mode(str(tmp_path / "ids.png"))


def test_encoded_ids_are_read_again(tmp_path: Path) -> None:
    ids = np.array([[0, 255, 256], [70000, 2**24 - 1, 1]], dtype=np.int32)
    (tmp_path / "ids.png").write_bytes(encode_segment_ids(ids))
    np.testing.assert_array_equal(read_segment_ids(str(tmp_path / "ids.png")), ids)
    assert wrong_png_mode(str(tmp_path / "ids.png")) == ""
