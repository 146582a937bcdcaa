"""Images, and drawing an item of an export."""

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import pytest
from PIL import Image

from effps_solo.data.importers.canvas import SegmentCanvas
from effps_solo.data.importers.classes import ClassList, as_entry
from effps_solo.data.importers.files import image_size
from effps_solo.data.importers.source import Export

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
    """(export, number of the item, classes) -> ids, segments_info, and what was left out, how often.

    Without classes they are what the export declares. Every annotation is drawn or left out.
    """

    def run(export: Export, k: int = 0, classes: Optional[ClassList] = None) -> Drawn:
        item = [item for part in export.splits.values() for item in part][k]
        canvas = SegmentCanvas(*image_size(item.image))
        classes = classes or ClassList(map(as_entry, export.count_labels()), "")
        export.draw(item.annotation, classes, canvas)
        ids, info = canvas.result()
        counts = canvas.counts
        assert counts.num_annotations == counts.num_drawn + sum(counts.left_out.values())
        return ids, info, {**counts.left_out, **canvas.notes}

    return run
