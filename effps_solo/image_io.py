"""Reading images, with errors that name the file."""

import os
from typing import Union

import numpy as np
from PIL import Image, ImageOps

from .errors import UserError

# Of the files that count as images in a folder.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises


class ImageError(UserError):
    """A file cannot be read as an image; the message names it."""


def read_image(path: Union[str, "os.PathLike[str]"], image_format: str) -> np.ndarray:
    """Read an image as Detectron2's ``read_image`` does, upright after its EXIF orientation.

    Grey images of 16 bits, which Pillow would cut off at 255, give the upper byte of each value.

    Args:
        path: a file of any format that Pillow knows.
        image_format: "RGB" or "BGR".

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: the file is missing, no image, or damaged.
    """
    from detectron2.data import detection_utils  # slow to import

    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):
                return _upper_bytes(np.asarray(ImageOps.exif_transpose(image)))
        return detection_utils.read_image(os.fspath(path), format=image_format)
    except FileNotFoundError as error:
        raise ImageError(f"{os.fspath(path)} does not exist") from error
    except UNREADABLE as error:
        raise ImageError(f"{os.fspath(path)} cannot be read as an image ({error})") from error


def _upper_bytes(values: np.ndarray) -> np.ndarray:
    """(H, W) of 16-bit values -> (H, W, 3) uint8."""
    grey = (values.clip(0, 65535) >> 8).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)
