"""What reads as an image, and what the error says."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import detection_utils
from PIL import Image

from effps_solo.structures.panoptic_png import read_segment_ids
from effps_solo.utils.image_io import ImageError, as_rgb, exif_orientation, open_image, read_image

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


def chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + kind + data + checksum


@pytest.mark.parametrize("kind", [b"eXIf", b"iTXt"])
def test_an_orientation_before_or_behind_the_pixels_of_a_png(tmp_path: Path, kind: bytes) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    xmp = b"XML:com.adobe.xmp\0\0\0\0\0tiff:Orientation='8'".replace(b"'", b'"')
    own = chunk(kind, exif.tobytes().removeprefix(b"Exif\0\0") if kind == b"eXIf" else xmp)
    Image.fromarray(NOISE).save(tmp_path / "plain.png")
    plain = (tmp_path / "plain.png").read_bytes()
    for before in (b"IDAT", b"IEND"):
        at = plain.index(before) - 4
        (tmp_path / "turned.png").write_bytes(plain[:at] + own + plain[at:])
        with Image.open(tmp_path / "turned.png") as image:
            assert exif_orientation(image) == 8
            assert (np.asarray(image) == NOISE).all()
        assert (read_image(tmp_path / "turned.png", "RGB") == np.rot90(NOISE)).all()


def test_an_orientation_is_read_without_the_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    for name, options in (("a.png", {}), ("b.png", {"exif": exif}), ("c.jpg", {"exif": exif})):
        Image.fromarray(NOISE).save(tmp_path / name, **options)
        content = (tmp_path / name).read_bytes()
        at = content.index(b"IDAT") + 4 if name.endswith("png") else content.index(b"\xff\xda") + 14
        (tmp_path / name).write_bytes(content[:at] + bytes(len(content) - at))
        with open_image(tmp_path / name) as image:
            assert exif_orientation(image) == (3 if options else 1)
        (tmp_path / name).write_bytes(content[:at])  # cut off
        with open_image(tmp_path / name) as image:
            assert exif_orientation(image) == (3 if options else 1)


def test_a_damaged_length_takes_no_memory(tmp_path: Path) -> None:
    """Pillow asks for as much memory as the file says that it needs."""
    path = tmp_path / "length.png"
    Image.fromarray(NOISE).save(path)
    content = path.read_bytes()
    at = content.index(b"IDAT") - 4
    path.write_bytes(content[:at] + b"\xff\xff\xff\xf0" + content[at + 4 :])
    code = (
        "import resource, sys\nfrom effps_solo.utils.image_io import read_image\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 * 2**30, 3 * 2**30))\n"
        "read_image(sys.argv[1], 'RGB')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert "length.png cannot be read as an image (not enough memory)" in done.stderr


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


def test_a_pipe_and_a_folder_are_no_images(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png"):
        with pytest.raises(ImageError, match=f"{name} is no file"):
            read_image(tmp_path / name, "RGB")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png does not exist"):
        read_image(tmp_path / "none.png", "RGB")
