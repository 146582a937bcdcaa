"""Images, and drawing an item of a source."""

from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
import pytest
from PIL import Image

from effps_solo.data.importers.canvas import SegmentCanvas
from effps_solo.data.importers.files import image_size
from effps_solo.data.importers.source import Source

Drawn = Tuple[np.ndarray, List[Dict[str, Any]], Dict[str, int]]


@pytest.fixture
def write_image(tmp_path: Path) -> Callable[..., Path]:
    """Write a grey image below ``tmp_path``; returns its path."""

    def write(name: str, height: int, width: int) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((height, width, 3), 128, dtype=np.uint8)).save(path)
        return path

    return write


@pytest.fixture
def draw() -> Callable[..., Drawn]:
    """(source, number of the item) -> ids, segments_info and notes."""

    def run(source: Source, k: int = 0) -> Drawn:
        item = source.items[k]
        canvas = SegmentCanvas(*image_size(item.image))
        source.draw(item.annotation, source.classes, canvas)
        return (*canvas.result(), dict(canvas.notes))

    return run
