"""Files of annotations and images: how they are found, paired and read."""

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
from PIL import Image

from effps_solo.structures.panoptic_png import read_segment_ids, wrong_png_mode
from effps_solo.utils.errors import UserError
from effps_solo.utils.image_io import IMAGE_SUFFIXES, UNREADABLE

from .canvas import SegmentCanvas

_CITYSCAPES_SUFFIX = "_leftImg8bit"
_EXIF_ORIENTATION, _ROTATED = 0x0112, (5, 6, 7, 8)  # quarter turns exchange height and width


class SourceError(UserError):
    """An annotation that cannot be imported; the message names the file."""


class ImageIndex:
    """Images below a folder by their names without suffix."""

    def __init__(self, folder: str) -> None:
        """Raises SourceError when there is no such folder or no image in it."""
        self.folder = folder
        self._by_path: Dict[str, List[str]] = defaultdict(list)
        self._by_name: Dict[str, List[str]] = defaultdict(list)
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                stem = path.stem.removesuffix(_CITYSCAPES_SUFFIX)
                for name in {stem, path.stem}:
                    self._by_path[str(path.relative_to(folder).with_name(name))].append(str(path))
                self._by_name[stem].append(str(path))
        if not self._by_path:
            raise SourceError(f"--images '{folder}' is no folder with images")

    def find(self, stem: str, annotation: str) -> str:
        """The image of an annotation file.

        Args:
            stem: path relative to the folder, without suffix; another folder is no obstacle if the name
                occurs once.

        Raises:
            SourceError: no image, or several; names ``annotation``.
        """
        found = self._by_path.get(stem) or self._by_name.get(os.path.basename(stem), [])
        if len(found) != 1:
            reason = f"several images ({', '.join(found[:3])})" if found else "no image"
            raise SourceError(
                f"{annotation}: {reason} named '{os.path.basename(stem)}' in '{self.folder}'; check "
                "--images"
            )
        return found[0]


def files_below(folder: str, pattern: str) -> List[Path]:
    """The files below a folder. Raises SourceError when there is none."""
    found = sorted(path for path in Path(folder).rglob(pattern) if path.is_file())
    if not found:
        raise SourceError(f"--annotations '{folder}' is no folder with {pattern}")
    return found


def read_lists(path: str, *keys: str) -> Dict[str, Any]:
    """The object in a JSON file. Raises SourceError unless ``keys`` are lists of objects in it."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as JSON: {error}") from error
    for key in keys:
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            raise SourceError(f"{path} has no list of objects '{key}'; check --from")
    result: Dict[str, Any] = content
    return result


def image_size(path: str) -> Tuple[int, int]:
    """(height, width) as training sees the image, upright. Raises SourceError."""
    try:
        with Image.open(path) as image:
            if image.format == "TIFF":
                image.load()  # turns the image and forgets its orientation
            width, height = image.size
            rotated = image.getexif().get(_EXIF_ORIENTATION) in _ROTATED
    except UNREADABLE as error:
        raise SourceError(f"{path} cannot be read as an image ({error})") from error
    return (width, height) if rotated else (height, width)


def read_pixels(path: str, canvas: SegmentCanvas) -> Tuple[str, np.ndarray]:
    """Pillow's mode and the (H, W) or (H, W, channels) int32 values of an annotation image.

    Raises:
        SourceError: it cannot be read, or has another size than its image.
    """
    try:
        with Image.open(path) as image:
            mode, pixels = image.mode, np.asarray(image, dtype=np.int32)
    except UNREADABLE as error:
        raise SourceError(f"{path} cannot be read as an image ({error})") from error
    require_size(canvas, pixels.shape[0], pixels.shape[1], path)
    return mode, pixels


def read_rgb_ids(path: str) -> np.ndarray:
    """(H, W) int32 R + 256 G + 65536 B. Raises UserError unless the file is a PNG with 8-bit RGB."""
    wrong = wrong_png_mode(path)
    if wrong:
        raise SourceError(f"{path} is {wrong}; segment ids come in a PNG with 8-bit RGB")
    return read_segment_ids(path)


def require_size(canvas: SegmentCanvas, height: Any, width: Any, annotation: str) -> None:
    """Raises SourceError unless an annotation states the size of its image."""
    if (height, width) != canvas.size:
        raise SourceError(
            f"{annotation} is made for {width}x{height} pixels, but its image has "
            f"{canvas.size[1]}x{canvas.size[0]}"
        )
