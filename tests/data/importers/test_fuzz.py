"""Damaged files end in a message or in a data set whose losses are counted, whatever the damage."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")
NAMES = list(runpy.run_path(str(FUZZ))["CASES"])


def fuzz(project_root: Path, name: str, first: int, count: int) -> None:
    done = subprocess.run(
        [sys.executable, str(FUZZ), name, str(first), str(count)],
        cwd=project_root,
        env={**os.environ, "PYTHONPATH": str(project_root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert done.stdout == f"{count} tried, 0 wrong\n"


@pytest.mark.parametrize("name", NAMES)
def test_some_damage(project_root: Path, name: str) -> None:
    fuzz(project_root, name, 10_000, 60)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_much_damage(project_root: Path, name: str) -> None:
    fuzz(project_root, name, 0, 2000)


def test_the_tester_sees_losses_and_tracebacks() -> None:
    tester = runpy.run_path(str(FUZZ))
    summary = (
        "s_train: 1 images, 1 of 3 annotations, segments\nleft out: annotations\n        2  x\n"
    )
    assert tester["_losses"](summary, 3) == ""
    assert tester["_losses"](summary.replace("2  x", "1  x"), 3)
    assert tester["_losses"](summary, 4) and tester["_losses"]("", 1)
