"""Conversions that are stopped, fail, and are run again."""

import json
import os
from pathlib import Path
from typing import Any, Callable, List

import pytest

from effps_solo.data.conversion import ConversionError, Job, convert_all
from effps_solo.utils.atomic import write_atomically
from effps_solo.utils.errors import UserError

Run = Callable[..., List[Any]]


class Worker:
    """Writes the task to the output; remembers what it did."""

    def __init__(self) -> None:
        self.done: List[Any] = []
        self.broken: List[Any] = []

    def __call__(self, task: Any, output: Path) -> Any:
        if task in self.broken:
            raise UserError(f"task {task} is broken")
        if task == "stop":
            raise KeyboardInterrupt
        self.done.append(task)
        write_atomically(output, str(task).encode())
        return {"length": len(str(task))}


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def run(tmp_path: Path, worker: Worker) -> Run:
    def start(*tasks: Any, settings: str = "1", folder: str = "set") -> List[Any]:
        jobs = [Job(f"out/{k}.txt", (str(tmp_path / f"{k}.src"),), t) for k, t in enumerate(tasks)]
        return convert_all(
            worker,
            jobs,
            journal=tmp_path / folder / ".journal",
            settings=settings,
            num_workers=1,
            title="test",
        )

    return start


def test_results_in_order_and_files(run: Run, tmp_path: Path) -> None:
    assert run("a", "ccc", "bb") == [{"length": 1}, {"length": 3}, {"length": 2}]
    assert (tmp_path / "set" / "out" / "1.txt").read_text() == "ccc"
    assert run() == []


def test_again_nothing_is_done(run: Run, worker: Worker) -> None:
    first = run("a", "b")
    assert run("a", "b") == first
    assert worker.done == ["a", "b"]


def test_only_what_changed(run: Run, worker: Worker, tmp_path: Path) -> None:
    run("a", "b", "c", "d")
    (tmp_path / "0.src").write_text("new")
    (tmp_path / "set" / "out" / "1.txt").unlink()
    worker.done.clear()
    run("a", "b", "other", "d")
    assert worker.done == ["a", "b", "other"]
    worker.done.clear()
    run("a", "b", "other", "d", settings="2")
    assert worker.done == ["a", "b", "other", "d"]


def test_jobs_that_are_gone_leave_nothing(run: Run, tmp_path: Path) -> None:
    run("a", "b", "c")
    foreign = tmp_path / "set" / "out" / "mine.txt"
    foreign.write_text("mine")
    run("a")
    assert {path.name for path in foreign.parent.iterdir()} == {"0.txt", "mine.txt"}


def test_a_copied_folder_is_independent(run: Run, tmp_path: Path) -> None:
    run("a", "b")
    os.makedirs(tmp_path / "copy")
    journal = (tmp_path / "set" / ".journal").read_text()
    (tmp_path / "copy" / ".journal").write_text(journal)
    run("a", folder="copy")
    assert (tmp_path / "set" / "out" / "1.txt").read_text() == "b"
    assert (tmp_path / "copy" / "out" / "0.txt").read_text() == "a"


def test_failures_are_told_together_and_the_rest_is_done(run: Run, worker: Worker) -> None:
    worker.broken = ["b", "d"]
    with pytest.raises(ConversionError, match="2 of 4 images failed") as error:
        run("a", "b", "c", "d")
    assert "task b is broken" in str(error.value) and "task d is broken" in str(error.value)
    worker.broken = []
    worker.done.clear()
    assert len(run("a", "b", "c", "d")) == 4
    assert worker.done == ["b", "d"]


def test_an_interrupted_run_goes_on(run: Run, worker: Worker) -> None:
    with pytest.raises(KeyboardInterrupt):
        run("a", "b", "stop", "d")
    worker.done.clear()
    run("a", "b", "c", "d")
    assert worker.done == ["c", "d"]


def test_a_journal_that_was_cut_off(run: Run, worker: Worker, tmp_path: Path) -> None:
    run("a", "b", "c")
    journal = tmp_path / "set" / ".journal"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([lines[0], "[3]", lines[1], lines[2][: len(lines[2]) // 2]]))
    worker.done.clear()
    run("a", "b", "c")
    assert worker.done == ["c"]
    assert [json.loads(line)["output"] for line in journal.read_text().splitlines()] == [
        f"out/{k}.txt" for k in range(3)
    ]
