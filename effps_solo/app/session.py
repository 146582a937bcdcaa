"""What the web page does, without the page: predictions, pictures, texts. No gradio."""

import os
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Sequence

import numpy as np
from PIL import Image

from effps_solo.inference.load import PanopticModel
from effps_solo.inference.result import PanopticResult, Segment
from effps_solo.utils.errors import UserError
from effps_solo.utils.image_io import MAX_MEGAPIXELS, UNREADABLE, ImageError, as_rgb

SECONDS_OF_FILES = 3600  # how long downloads and uploads are kept
MAX_SHOWN = 2048  # pixels of the longer side of a picture on the page
Row = List[object]


@dataclass(frozen=True)
class Limits:
    """What an upload may be."""

    megapixels: float = MAX_MEGAPIXELS  # of the image
    megabytes: float = 20.0  # of the file


class Session:
    """The models behind a page; all users share them, one after the other."""

    def __init__(self, models: Dict[str, PanopticModel], limits: Limits) -> None:
        """``models`` is name on the page -> model, at least one."""
        self.models, self.limits = models, limits
        self._lock = threading.Lock()  # a prediction takes all cores, and memory
        self._folder = tempfile.TemporaryDirectory(prefix="effps_solo_")

    def predict(self, path: str, confidence: float) -> List[PanopticResult]:
        """One result for each model, of the upload ``path``; ``confidence``: lowest score of a thing.

        Raises UserError when the file is too large, no image, or not for the models.
        """
        check_upload(path, self.limits)
        image = as_rgb(path)
        with self._lock:
            return [model(image, confidence_threshold=confidence) for model in self.models.values()]

    def downloads(self, results: Sequence[PanopticResult], names: Sequence[str]) -> List[str]:
        """Overlay, id PNG and JSON of every result, in a new folder; those of an hour ago are removed."""
        base = Path(self._folder.name)
        for old in base.iterdir():
            with suppress(FileNotFoundError):  # another user's call has removed it
                if time.time() - old.stat().st_mtime > SECONDS_OF_FILES:
                    shutil.rmtree(old, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=base))
        paths = [path for result, name in zip(results, names) for path in result.save(folder, name)]
        return [str(path) for path in paths]


def check_upload(path: str, limits: Limits) -> None:
    """Raise UserError for what is too large or no image, before its pixels take memory."""
    name, megabytes = os.path.basename(path), os.path.getsize(path) / 1e6
    if megabytes > limits.megabytes:
        raise UserError(f"{name} has {megabytes:.1f} MB; at most {limits.megabytes:g} are allowed")
    try:
        with Image.open(path) as image:
            width, height = image.size
    except UNREADABLE as error:
        raise ImageError(f"{name} cannot be read as an image") from error
    megapixels = width * height / 1e6
    if megapixels > limits.megapixels:
        raise UserError(
            f"{name} has {width}x{height} pixels, {megapixels:.0f} million; at most "
            f"{limits.megapixels:g} million are allowed"
        )


def picture(result: PanopticResult, opacity: float, labels: bool) -> np.ndarray:
    """(h, w, 3) uint8 RGB for the page."""
    return result.overlay(opacity=opacity, labels=labels, legend=labels, max_size=MAX_SHOWN)


def segment_at(result: PanopticResult, x: float, y: float) -> Optional[Segment]:
    """The segment at a point of :func:`picture`; None in void and in the legend."""
    height, width = result.panoptic.shape
    scale = max(1.0, max(height, width) / MAX_SHOWN)
    row, column = int(y * scale), int(x * scale)
    if not (0 <= row < height and 0 <= column < width):
        return None
    return next((s for s in result.segments if s.id == result.panoptic[row, column]), None)


def describe(segment: Optional[Segment]) -> str:
    """A line of Markdown."""
    if segment is None:
        return "Nothing was found here."
    kind = "an object" if segment.isthing else "background"
    x, y, width, height = segment.bbox
    return (
        f"**{segment.category}** ({kind}), score {segment.score:.2f}, {segment.area:,} pixels, in the "
        f"box {width} x {height} at ({x}, {y})"
    )


def table(result: PanopticResult) -> List[Row]:
    """class, object or not, score, pixels of every segment; things first, by score."""
    ordered = sorted(result.segments, key=lambda s: (not s.isthing, -s.score))
    return [
        [s.category, "thing" if s.isthing else "stuff", round(s.score, 3), s.area] for s in ordered
    ]
