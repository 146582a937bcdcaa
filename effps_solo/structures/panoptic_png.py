"""Panoptic PNGs of the COCO format: segment id = R + 256 G + 65536 B, 0 is void."""

import io

import numpy as np
from PIL import Image

from effps_solo.utils.image_io import open_image

VOID = 0
# Of the two PNGs of a prediction: NAME_panoptic.png, and the picture for the eye beside it.
PANOPTIC_SUFFIX, OVERLAY_SUFFIX = "_panoptic.png", "_overlay.png"
_COLOR_TYPES = {0: "grey", 2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}
_IHDR_BIT_DEPTH = 24  # offset in the file; the colour type follows


def read_segment_ids(file_name: str) -> np.ndarray:
    """(H, W) int32 segment ids of a panoptic PNG. ImageError when the file cannot be read."""
    with open_image(file_name) as image:
        rgb = np.asarray(image.convert("RGB"), dtype=np.int32)
    return rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]


def wrong_png_mode(file_name: str) -> str:
    """What a file is instead of a PNG with 8-bit RGB (and perhaps alpha); "" if it is one.

    The pixels of other files are no segment ids, although :func:`read_segment_ids` converts them.
    Reads the header only. ImageError when that cannot be read.
    """
    with open_image(file_name) as image, open(file_name, "rb") as file:
        file_format, header = image.format, file.read(_IHDR_BIT_DEPTH + 2)
    if file_format != "PNG":
        return f"a {file_format} file"
    depth, color_type = header[_IHDR_BIT_DEPTH], header[_IHDR_BIT_DEPTH + 1]
    if depth == 8 and color_type in (2, 6):
        return ""
    return f"a PNG with {depth}-bit {_COLOR_TYPES.get(color_type, 'unknown')} pixels"


def ids_to_rgb(ids: np.ndarray) -> np.ndarray:
    """(H, W) segment ids below 2^24 -> (H, W, 3) uint8."""
    return np.stack([ids & 255, (ids >> 8) & 255, (ids >> 16) & 255], axis=-1).astype(np.uint8)


def encode_segment_ids(ids: np.ndarray) -> bytes:
    """The panoptic PNG of (H, W) segment ids below 2^24."""
    data = io.BytesIO()
    Image.fromarray(ids_to_rgb(ids)).save(data, format="PNG")
    return data.getvalue()
