"""Tables and hand-made results."""

from pathlib import Path
from typing import Any, Callable, Dict

import pytest

TABLE = """
methods: {New head: new, R-CNN: rcnn}
data sets:
  cells: {configs: cells, seeds: [1, 2]}
  Old Town: {configs: town, seeds: [7], opts: {SOLVER.MAX_ITER: 30, INPUT.CROP_SIZE: [64, 96]}}
"""
CONFIG = "{MODEL: {DEVICE: cpu}, DATASETS: {TEST: [some_val]}, SOLVER: {MAX_ITER: 40}}"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of two methods on two data sets."""
    for folder in ("cells", "town"):
        (tmp_path / folder).mkdir()
        for stem in ("new", "rcnn"):
            (tmp_path / folder / f"{stem}.yaml").write_text(CONFIG)
    path = tmp_path / "table.yaml"
    path.write_text(TABLE)
    return path


@pytest.fixture
def make_result() -> Callable[..., Dict[str, Any]]:
    """A result with the given values; all others are plausible."""

    def make(**changes: Any) -> Dict[str, Any]:
        values = {"PQ": 50.0, "PQ_th": 40.0, "PQ_st": 60.0, "Boundary_PQ": 30.0}
        values.update(AP=20.0, AP75=15.0)
        costs = {"parameters": 3_100_000, "macs": 1.8e9, "training_seconds": 1800.0}
        use = {"inference_seconds": 0.25, "peak_memory_bytes": 600 * 2**20}
        how = {"num_images": 20, "device": "cpu", "threads": 2}
        return {**values, **costs, **use, **how, **changes}

    return make
