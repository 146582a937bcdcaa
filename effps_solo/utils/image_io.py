"""Images as arrays: from files, bytes, Pillow, numpy and torch, with errors that name the source."""

import io
import os
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Iterator, Union

import numpy as np
from PIL import ExifTags, Image, ImageOps

from .errors import UserError

if TYPE_CHECKING:
    import torch

# Of the files that count as images, or as videos, in a folder.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
MAX_MEGAPIXELS = 50.0  # of an image to predict, unless told otherwise: about 12 GB in torch
# What Pillow raises; a damaged length in a file makes it ask for as much memory.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, MemoryError)
_METADATA = {b"eXIf", b"iTXt", b"tEXt", b"zTXt"}  # chunks of a PNG

Path = Union[str, "os.PathLike[str]"]
ImageSource = Union[str, "os.PathLike[str]", bytes, Image.Image, np.ndarray, "torch.Tensor"]


class ImageError(UserError):
    """Something cannot be read as an image; the message names it."""


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Pillow's image of a file. Raises ImageError when it cannot be opened, or read in the block."""
    if os.path.exists(path) and not os.path.isfile(path):  # a pipe would block for ever
        raise ImageError(f"{os.fspath(path)} is no file")
    try:
        with Image.open(path) as image:
            yield image
    except UserError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{os.fspath(path)} does not exist") from error
    except UNREADABLE as error:
        reason = str(error) or "not enough memory"
        raise ImageError(f"{os.fspath(path)} cannot be read as an image ({reason})") from error


def exif_orientation(image: Image.Image) -> int:
    """1 .. 8, 1 is upright, of a file that was opened; reads its pixels only if it must.

    Pillow turns TIFFs when it reads their pixels: they are upright.
    """
    if image.format == "TIFF":
        return 1
    # Of a PNG ``getexif`` reads all pixels first, for there may be metadata behind them.
    file = getattr(image, "fp", None)
    early = image.format == "PNG" and file is not None and not _has_late_metadata(file)
    exif = Image.Image.getexif(image) if early else image.getexif()
    turn = exif.get(ExifTags.Base.Orientation, 1)
    return turn if turn in range(1, 9) else 1


def _has_late_metadata(png: IO[bytes]) -> bool:
    """Whether there are chunks with metadata behind the pixels."""
    position, chunks = png.tell(), [b""]
    png.seek(8)  # behind the signature
    while chunks[-1] != b"IEND" and len(head := png.read(8)) == 8:
        chunks.append(head[4:])
        png.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    png.seek(position)
    return b"IDAT" in chunks and not _METADATA.isdisjoint(chunks[chunks.index(b"IDAT") :])


def read_image(path: Path, image_format: str) -> np.ndarray:
    """Read an image as Detectron2's ``read_image`` does, upright after its EXIF orientation.

    Grey images of 16 bits, which Pillow would cut off at 255, give the upper byte of each value. Of
    an animation it is the first picture; transparency is left out.

    Args:
        path: a file of any format that Pillow knows.
        image_format: "RGB" or "BGR".

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageError: the file is missing, no image, or damaged.
    """
    with open_image(path) as image:
        rgb = _pixels(image)
    return rgb if image_format == "RGB" else rgb[..., ::-1]


def as_rgb(source: ImageSource) -> np.ndarray:
    """The pixels of whatever holds an image.

    Args:
        source: a path, the bytes of an image file, a Pillow image, an array (H, W, 3), (H, W, 4) or
            (H, W) of uint8 or uint16 in the order RGB, or a tensor (3, H, W) of uint8 or of
            floating-point numbers in [0, 1], RGB, too.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: it is none of these, empty, or cannot be read.
    """
    if isinstance(source, (str, os.PathLike)):
        return read_image(source, "RGB")
    try:
        if isinstance(source, (bytes, bytearray)):
            with Image.open(io.BytesIO(source)) as image:
                return _pixels(image)
        if isinstance(source, Image.Image):
            return _pixels(source)
    except UNREADABLE as error:
        raise ImageError(f"the given image cannot be read ({error})") from error
    if isinstance(source, np.ndarray):
        return _array_as_rgb(source)
    if hasattr(source, "detach"):
        return _tensor_as_rgb(source)
    raise ImageError(
        f"an image cannot be a {type(source).__name__}; give a path, bytes, a Pillow image, a numpy "
        "array (H, W, 3) or a tensor (3, H, W)"
    )


def _pixels(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save 8 or 16 bits")
    if upright.mode.startswith("I"):  # 16 bits
        grey = (np.asarray(upright).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=-1)
    return np.asarray(upright.convert("RGB"))


def _array_as_rgb(array: np.ndarray) -> np.ndarray:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or array.size == 0:
        raise ImageError(
            f"an image cannot be an array of shape {array.shape}; it must be (H, W, 3) RGB, (H, W, 4) "
            "or (H, W)"
        )
    if array.dtype == np.uint16:
        array = (array >> 8).astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(
            f"an image cannot be an array of {array.dtype}; bring it to 0 .. 255 and uint8"
        )
    if channels == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(array[..., :3])


def _tensor_as_rgb(tensor: Any) -> np.ndarray:
    if tensor.ndim != 3 or tensor.shape[0] != 3 or tensor.numel() == 0:
        raise ImageError(
            f"an image cannot be a tensor of shape {tuple(tensor.shape)}; it must be (3, H, W) RGB"
        )
    if tensor.is_floating_point():
        low, high = tensor.min().item(), tensor.max().item()
        if not (low >= 0 and high <= 1):
            raise ImageError(
                f"a floating-point tensor has values in [0, 1], not {low:g} .. {high:g}; give uint8 "
                "or divide by 255"
            )
        tensor = (tensor.float() * 255).round().byte()
    if str(tensor.dtype) != "torch.uint8":
        raise ImageError(f"an image cannot be a tensor of {tensor.dtype}; give uint8, or [0, 1]")
    array: np.ndarray = tensor.detach().permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(array)
