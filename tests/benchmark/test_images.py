"""The images of a benchmark."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effps_solo.benchmark.images import NUM_SYNTHETIC, make_images, size_of, synthetic_image
from effps_solo.utils.image_io import ImageError


def test_synthetic_images_are_the_same_every_time(tmp_path: Path) -> None:
    image = synthetic_image((48, 80), 1)
    assert image.shape == (48, 80, 3) and image.dtype == np.uint8
    assert np.array_equal(image, synthetic_image((48, 80), 1))
    assert not np.array_equal(image, synthetic_image((48, 80), 2))
    paths = make_images(tmp_path, (48, 80), [])
    assert len(paths) == NUM_SYNTHETIC
    assert np.array_equal(np.asarray(Image.open(paths[1])), image)


def test_an_image_of_that_size_is_read_where_it_lies(tmp_path: Path) -> None:
    pixels = synthetic_image((40, 60), 0)
    path = tmp_path / "given.png"
    Image.fromarray(pixels).save(path)
    assert make_images(tmp_path / "made", (40, 60), [path]) == [str(path)]
    assert not (tmp_path / "made").exists()


def test_others_are_converted(tmp_path: Path) -> None:
    pixels = synthetic_image((40, 60), 0)
    grey, turned = tmp_path / "grey.png", tmp_path / "turned.jpg"
    Image.fromarray(pixels[..., 0]).save(grey)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    Image.fromarray(pixels).save(turned, exif=exif)
    assert size_of(turned) == (60, 40)
    made = make_images(tmp_path / "made", (60, 40), [grey, turned])
    for path in made:
        with Image.open(path) as image:
            assert image.size == (40, 60) and image.mode == "RGB"
    assert len(set(made)) == 2


def test_a_damaged_image(tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"no image")
    with pytest.raises(ImageError, match="broken.png"):
        make_images(tmp_path / "made", (40, 60), [path])
