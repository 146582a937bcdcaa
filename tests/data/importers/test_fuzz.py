"""Damaged files end in a message or in a data set whose losses are counted, whatever the damage."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Dict

import pytest

from tests.data.importers.fuzz import CASES, account


def fuzz(project_root: Path, name: str, first: int, count: int) -> Dict[str, int]:
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "tests.data.importers.fuzz",
            name,
            str(first),
            str(count),
        ],
        cwd=project_root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    outcomes: Dict[str, int] = json.loads(done.stdout)
    assert sum(outcomes.values()) == count + 1 and outcomes["refused"]
    return outcomes


@pytest.mark.parametrize("name", CASES)
def test_some_damage(project_root: Path, name: str) -> None:
    fuzz(project_root, name, 10_000, 60)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_much_damage(project_root: Path, name: str) -> None:
    outcomes = fuzz(project_root, name, 0, 2000)
    assert outcomes["refused"] < 1900 or name == "panoptic"  # whose PNGs show no segment


def test_the_tester_sees_losses() -> None:
    summary = (
        "s_train: 1 images, 1 of 3 annotations, segments\nleft out: annotations\n        2  x\n"
    )
    assert account(summary, 3) == "left out" and account("", 0) == "drawn"
    for output, expected in ((summary.replace("2  x", "1  x"), 3), (summary, 4), ("", 1)):
        with pytest.raises(AssertionError):
            account(output, expected)
