"""Labels that were drawn on an image as it is stored, without the turn of its EXIF orientation."""

from typing import Optional

import numpy as np
from PIL import ExifTags, Image, ImageOps

from effps_solo.utils.image_io import exif_orientation, open_image

from .findings import Finding

_QUARTER_TURNS = (5, 6, 7, 8)  # of EXIF's orientations
# By so much stronger edges must lie below the borders of labels that were turned.
_MIN_GAIN = 1.1


def orientation_finding(
    subject: str, file: str, rgb: np.ndarray, ids: np.ndarray
) -> Optional[Finding]:
    """What speaks against labels of an image with an EXIF orientation; None: nothing.

    Args:
        rgb: (H, W, 3) uint8, upright.
        ids: of any size.
    """
    with open_image(file) as image:
        turn = exif_orientation(image)
    if turn == 1:
        return None
    size = rgb.shape[:2]
    stored = size[::-1] if turn in _QUARTER_TURNS else size
    if ids.shape == stored != size:
        text = f"has the EXIF orientation {turn}, without which it has the size of its PNG"
        return Finding("stored-pixels", subject, text)
    if ids.shape == stored == size and fits_turned(rgb, ids, turn):
        text = f"has the EXIF orientation {turn}, without which its labels fit it better"
        return Finding("turned-pixels", subject, text)
    return None


def fits_turned(rgb: np.ndarray, ids: np.ndarray, turn: int) -> bool:
    """Whether the borders of turned labels lie on clearly stronger edges than those of labels as they are.

    Args:
        rgb: (H, W, 3) uint8.
        ids: (H, W) int32.
        turn: an EXIF orientation.
    """
    labels = Image.fromarray(ids)
    labels.getexif()[ExifTags.Base.Orientation] = turn
    turned = np.asarray(ImageOps.exif_transpose(labels))
    return edge_strength(rgb, turned) > _MIN_GAIN * edge_strength(rgb, ids)


def edge_strength(rgb: np.ndarray, ids: np.ndarray) -> float:
    """Mean step in grey levels across the borders between segments; 0 without any."""
    grey = rgb.mean(axis=-1)
    total, count = 0.0, 0
    for axis in (0, 1):
        border = np.diff(ids, axis=axis) != 0
        total += float(np.abs(np.diff(grey, axis=axis))[border].sum())
        count += int(border.sum())
    return total / max(count, 1)
