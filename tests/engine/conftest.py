"""What tests of whole trainings share: settings and the records of ``recorded_training.py``."""

import json
import runpy
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from effps_solo.cli import training

Job = Dict[str, Any]
# Every kind of random number, and as little work as possible.
LIVELY = {
    "INPUT.SCALE_RANGE": "(0.8, 1.25)",
    "INPUT.RANDOM_FLIP": "horizontal",
    "INPUT.COLOR_JITTER": "0.2",
    "SEED": "1",
}


@pytest.fixture
def make_job(tiny_config: Path, tmp_path: Path) -> Callable[..., Job]:
    """``make_job(name, keys, **entries)``: a job of ``recorded_training.py`` on the tiny set.

    It writes to ``tmp_path``/name and, its losses, to ``tmp_path``/name.losses.
    """

    def make(name: str, keys: Dict[str, Any], *flags: str, **entries: Any) -> Job:
        overrides = {**LIVELY, "OUTPUT_DIR": str(tmp_path / name), **keys}
        words = ["--config-file", str(tiny_config), *flags]
        words += [str(word) for pair in overrides.items() for word in pair]
        return {"words": words, "record": str(tmp_path / f"{name}.losses"), **entries}

    return make


@pytest.fixture
def program(project_root: Path) -> Path:
    return project_root / "tests" / "engine" / "recorded_training.py"


@pytest.fixture
def run_here(program: Path, fresh_loggers: None) -> Callable[[Job], None]:
    """Run a job in this process; what trains after it does so with the trainer of before."""
    run_job = runpy.run_path(str(program))["run_job"]

    def run(job: Job) -> None:
        before = training.Trainer
        run_job(job)
        assert training.Trainer is before

    return run


@pytest.fixture
def losses_of(tmp_path: Path) -> Callable[[str], List[Dict[str, float]]]:
    """The recorded steps of a job by its name."""

    def read(name: str) -> List[Dict[str, float]]:
        return [json.loads(line) for line in (tmp_path / f"{name}.losses").read_text().splitlines()]

    return read


@pytest.fixture
def one_empty_image(tiny_set: Path) -> None:
    """The second training image shows no object: in a batch of two, one process has none."""
    path = tiny_set / "panoptic_train.json"
    content = json.loads(path.read_text())
    for segment in content["annotations"][1]["segments_info"]:
        segment["category_id"] = 21  # road
    path.write_text(json.dumps(content))
