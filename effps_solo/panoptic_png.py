"""Panoptic PNGs of the COCO format: segment id = R + 256 G + 65536 B, 0 is void."""

import numpy as np
from PIL import Image

from .image_io import UNREADABLE, ImageError

VOID = 0


def read_segment_ids(file_name: str) -> np.ndarray:
    """(H, W) int32 segment ids of a panoptic PNG. ImageError when the file cannot be read."""
    try:
        with Image.open(file_name) as image:
            rgb = np.asarray(image.convert("RGB"), dtype=np.int32)
    except UNREADABLE as error:
        raise ImageError(f"{file_name} cannot be read as a panoptic PNG ({error})") from error
    return rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]


def ids_to_rgb(ids: np.ndarray) -> np.ndarray:
    """(H, W) segment ids below 2^24 -> (H, W, 3) uint8."""
    return np.stack([ids & 255, (ids >> 8) & 255, (ids >> 16) & 255], axis=-1).astype(np.uint8)
