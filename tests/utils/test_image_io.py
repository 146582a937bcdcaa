"""What reads as an image, and what the error says."""

from pathlib import Path

import numpy as np
import pytest
from detectron2.data import detection_utils
from PIL import Image

from effps_solo.structures.panoptic_png import read_segment_ids
from effps_solo.utils.image_io import ImageError, as_rgb, read_image

NOISE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def test_both_channel_orders(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(NOISE).save(path)
    assert (read_image(path, "RGB") == NOISE).all()
    assert (read_image(str(path), "BGR") == NOISE[..., ::-1]).all()


@pytest.mark.parametrize(
    "mode, suffix",
    [("L", "png"), ("LA", "png"), ("P", "gif"), ("RGBA", "png"), ("CMYK", "jpg"), ("1", "png")],
)
def test_as_detectron2_reads(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(NOISE).convert("RGBA").convert("RGB").convert(mode).save(path)
    for image_format in ("RGB", "BGR"):
        expected = detection_utils.read_image(str(path), format=image_format)
        assert np.array_equal(read_image(path, image_format), expected)


def test_floating_point_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "depth.tif"
    Image.fromarray(np.full((6, 9), 0.5, np.float32)).save(path)
    with pytest.raises(
        ImageError, match="depth.tif cannot be read.*floating-point numbers; save 8 or 16"
    ):
        read_image(path, "RGB")


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_their_contrast(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"wide.{suffix}"
    Image.fromarray(NOISE[..., 0].astype(np.uint16) * 256 + 17).save(path)
    image = read_image(path, "RGB")
    assert image.dtype == np.uint8 and image.shape == (6, 9, 3)
    assert (image == NOISE[..., :1]).all()


def test_orientation_of_a_camera(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter
    Image.fromarray(NOISE).save(tmp_path / "turned.png", exif=exif)
    assert (read_image(tmp_path / "turned.png", "RGB") == np.rot90(NOISE, -1)).all()
    assert (as_rgb(Image.open(tmp_path / "turned.png")) == np.rot90(NOISE, -1)).all()


def test_the_first_picture_of_an_animation(tmp_path: Path) -> None:
    path = tmp_path / "moving.png"
    Image.fromarray(NOISE).save(path, save_all=True, append_images=[Image.new("RGB", (9, 6))])
    assert (read_image(path, "RGB") == NOISE).all()


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(30)])
@pytest.mark.parametrize("read", [lambda p: read_image(p, "RGB"), read_segment_ids])
def test_damaged_file_is_named(tmp_path: Path, read: object, content: bytes) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"bad\.png cannot be read as"):
        read(str(path))


def test_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "half.png"
    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ImageError, match=r"half\.png cannot be read as an image"):
        read_image(path, "RGB")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png does not exist"):
        read_image(tmp_path / "none.png", "RGB")
