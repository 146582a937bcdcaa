"""Files of annotations and images: how they are listed and read."""

import json
import os
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np

from effps_solo.structures.panoptic_png import read_segment_ids, wrong_png_mode
from effps_solo.utils.errors import UserError
from effps_solo.utils.image_io import exif_orientation, open_image

from .canvas import SegmentCanvas
from .geometry import stated_size

_QUARTER_TURNS = (5, 6, 7, 8)  # of EXIF's orientations; they exchange height and width


class SourceError(UserError):
    """An annotation that cannot be imported; the message names the file."""


class SizeError(SourceError):
    """An annotation is made for another size than its image has."""


class ForeignFileError(SourceError):
    """A file or folder holds nothing of the format; it may be of another."""


class UnreadableFileError(SourceError):
    """A file is no JSON."""


def walk(folder: str) -> Iterator[Path]:
    """The files below a folder in the order of their names.

    Without hidden ones, those of archive programs, and what an import into the same folder wrote.
    """
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        if os.path.realpath(parent) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        imported = {name[1:-8] for name in names if name[:1] == "." and name.endswith(".journal")}
        folders[:] = sorted(n for n in folders if n[0] != "." and n not in {*imported, "__MACOSX"})
        for name in sorted(names):
            if name[0] != "." and name.removesuffix(".json") not in imported:
                yield Path(parent, name)


def files_below(folder: str, pattern: str) -> List[Path]:
    """The files below a folder. Raises ForeignFileError when there is none."""
    found = sorted(path for path in walk(folder) if fnmatch(path.name, pattern))
    if not found:
        raise ForeignFileError(f"--annotations '{folder}' is no folder with {pattern}")
    return found


def read_json(path: str) -> Any:
    """The content of a JSON file, with or without a byte order mark. Raises UnreadableFileError."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableFileError(f"{path} cannot be read as JSON: {error}") from error


def read_lists(path: str, *keys: str) -> Dict[str, Any]:
    """The object in a JSON file.

    Raises:
        UnreadableFileError: it cannot be read.
        ForeignFileError: ``keys`` are not lists of objects in it.
    """
    content = read_json(path)
    for key in keys:
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            raise ForeignFileError(f"{path} has no list of objects '{key}'; check --from")
    result: Dict[str, Any] = content
    return result


def image_size(path: str) -> Tuple[int, int]:
    """(height, width) as training sees the image, upright. Raises ImageError."""
    return _size_and_turn(path)[0]


def stored_size(path: str) -> Optional[Tuple[int, int]]:
    """(height, width) without the EXIF orientation, of an image that has a quarter turn."""
    (height, width), turned = _size_and_turn(path)
    return (width, height) if turned else None


def _size_and_turn(path: str) -> Tuple[Tuple[int, int], bool]:
    with open_image(path) as image:
        if image.format == "TIFF":
            image.load()  # turns the image
        width, height = image.size
        turned = exif_orientation(image) in _QUARTER_TURNS
    return ((width, height) if turned else (height, width)), turned


def read_pixels(path: str, canvas: SegmentCanvas) -> Tuple[str, np.ndarray]:
    """Pillow's mode and the (H, W) or (H, W, channels) int32 values of an annotation image.

    Raises:
        ImageError: it cannot be read.
        SizeError: it has another size than its image.
    """
    with open_image(path) as image:
        mode, pixels = image.mode, np.asarray(image, dtype=np.int32)
    require_size(canvas, pixels.shape[0], pixels.shape[1], path)
    return mode, pixels


def read_rgb_ids(path: str) -> np.ndarray:
    """(H, W) int32 R + 256 G + 65536 B. Raises UserError unless the file is a PNG with 8-bit RGB."""
    wrong = wrong_png_mode(path)
    if wrong:
        raise SourceError(f"{path} is {wrong}; segment ids come in a PNG with 8-bit RGB")
    return read_segment_ids(path)


def require_size(canvas: SegmentCanvas, height: Any, width: Any, annotation: str) -> None:
    """Raises SizeError when an annotation states another size than its image has.

    Args:
        height, width: of any type; what is no positive number states nothing.
    """
    stated = stated_size(height, width)
    if any(own is not None and own != actual for own, actual in zip(stated, canvas.size)):
        raise SizeError(
            f"{annotation} is made for {width}x{height} pixels, but its image has "
            f"{canvas.size[1]}x{canvas.size[0]}"
        )
