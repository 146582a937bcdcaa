"""The order of the runs and what becomes of failures, with workers that only keep a diary."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List

import pytest

from effps_solo.benchmark import rounds
from effps_solo.benchmark.rounds import NUM_WARM_UP, Outcome, median_shares, run_rounds
from effps_solo.benchmark.worker import WorkerFailed

diary: List[str] = []


class FakeWorker:
    """Takes 1 s for its first run, k s for the one of number k."""

    def __init__(self, task: Any, log: Path) -> None:
        self.task = task

    def wait_until_ready(self) -> Dict[str, Any]:
        if self.task.kind == "missing":
            raise WorkerFailed("not installed")
        return {"seconds": 2.0}

    def run(self, number: int) -> Dict[str, Any]:
        diary.append(f"{self.task.kind}{number}")
        if self.task.kind == "dying" and number == 1:
            raise WorkerFailed("died")
        return {"wall": float(number), "process": 2.0 * number, "things": number, "stages": {}}

    def finish(self) -> Dict[str, Any]:
        return {"peak_memory_bytes": 7}

    def close(self) -> None:
        diary.append(f"{self.task.kind} closed")


@pytest.fixture(autouse=True)
def fake_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    diary.clear()
    monkeypatch.setattr(rounds, "Worker", FakeWorker)
    monkeypatch.setattr(rounds, "_PAUSE_SECONDS", 0)


def measure(kinds: List[str], num_runs: int) -> Dict[str, Outcome]:
    tasks = {kind: SimpleNamespace(kind=kind) for kind in kinds}
    return run_rounds(tasks, num_runs, Path("."), lambda text: None)


def test_everyone_has_a_turn_in_every_round() -> None:
    outcomes = measure(["a", "b", "c"], 3)
    turns = diary[:-3]
    assert turns[:3] == ["a0", "b0", "c0"]  # the first runs
    in_rounds = turns[3:]
    assert len(in_rounds) == 3 * (3 + NUM_WARM_UP - 1)
    for k in range(0, len(in_rounds), 3):
        assert sorted(turn[0] for turn in in_rounds[k : k + 3]) == ["a", "b", "c"]
    # Another one begins each time.
    assert in_rounds[-9:] == ["a0", "b0", "c0", "b1", "c1", "a1", "c2", "a2", "b2"]
    assert diary[-3:] == ["c closed", "b closed", "a closed"]
    assert all(outcome.wall == [0, 1, 2] for outcome in outcomes.values())


def test_failures_are_rows_and_stop_nobody_else() -> None:
    outcomes = measure(["missing", "good", "dying"], 3)
    assert outcomes["missing"].summary() == {"error": "not installed"}
    assert outcomes["dying"].summary() == {"error": "died"}
    summary = outcomes["good"].summary()
    assert summary["p50_seconds"] == 1 and summary["p95_seconds"] == pytest.approx(1.9)
    assert (summary["process_seconds"], summary["things"]) == (2, 1)
    assert summary["peak_memory_bytes"] == 7 and 2 <= summary["start_seconds"] < 3
    assert sorted(diary[-3:]) == ["dying closed", "good closed", "missing closed"]


def test_nothing_to_measure() -> None:
    assert measure([], 3) == {}


def test_a_stage_that_a_run_lacks_took_no_time() -> None:
    shares = [{"a": 1.0}, {"a": 3.0, "b": 4.0}, {"a": 5.0, "b": 6.0}]
    assert median_shares(shares) == {"a": 3.0, "b": 4.0}
    assert median_shares([{}]) == {}
