"""Killed trainings: what is on the disk is whole, and the next run goes on as if nothing had been."""

import math
import multiprocessing
import random
import runpy
import socket
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest
import torch

Losses = List[Dict[str, float]]
LAST = 27  # iterations


class Runs:
    """Trainings in processes of their own, started quickly: they are copies of one that is ready."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["effps_solo.engine", "effps_solo.evaluation"])
        self.processes: List[Any] = []

    def start(self, job: Dict[str, Any], num_processes: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.processes = []
        for rank in range(num_processes):
            environment = {"OMP_NUM_THREADS": "1"}
            if num_processes > 1:  # as torchrun has it
                environment.update(
                    RANK=str(rank), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1",
                    WORLD_SIZE=str(num_processes), LOCAL_WORLD_SIZE=str(num_processes),
                    MASTER_PORT=str(port),
                )  # fmt: skip
            arguments = (str(self.program), {"FORKED": (job, environment)})
            self.processes.append(self.context.Process(target=runpy.run_path, args=arguments))
            self.processes[-1].start()

    def finish(self, status: int = 0) -> None:
        for process in self.processes:
            process.join(400)
            assert process.exitcode == status

    def kill(self) -> None:
        """SIGKILL to all of them, workers of the data loader excepted; these end by themselves."""
        for process in self.processes:
            assert process.exitcode in (None, -9)
            process.kill()
            process.join(60)

    def wait_until(self, condition: Callable[[], bool], pause: float = 0.02) -> None:
        deadline = time.time() + 400
        while not condition():
            assert time.time() < deadline and all(p.exitcode is None for p in self.processes)
            time.sleep(pause)


@pytest.fixture
def runs(program: Path) -> Iterator[Runs]:
    runs = Runs(program)
    yield runs
    for process in runs.processes:
        process.kill()


def keys(**more: Any) -> Dict[str, Any]:
    return {
        "SOLVER.MAX_ITER": LAST,
        "SOLVER.CHECKPOINT_PERIOD": 3,
        "INPUT.CROP_SIZE": "(32, 64)",
        "DATASETS.TEST": "()",
        "SEED": -1,
        **more,
    }


def last_iteration(folder: Path) -> int:
    """Of the checkpoint to resume from, which loads as tensors and plain values."""
    name = (folder / "last_checkpoint").read_text()
    return int(torch.load(folder / name, weights_only=True)["iteration"])


def num_lines(path: Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_killed_run_goes_on_to_the_bit(
    num_processes: int, runs: Runs, make_job: Any, losses_of: Any, tmp_path: Path
) -> None:
    seed = {"SEED": 5}
    runs.start(make_job("whole", keys(**seed)), num_processes)
    runs.finish()
    expected = {step["iteration"]: step for step in losses_of("whole")}
    assert sorted(expected) == list(range(LAST))
    for workers in (0, 2):
        name = f"killed_{workers}"
        job = make_job(name, keys(**seed, **{"DATALOADER.NUM_WORKERS": workers}))
        steps = random.randint(4, 5)  # the line of step 3 comes before its checkpoint
        runs.start(job, num_processes)
        runs.wait_until(lambda: num_lines(tmp_path / f"{name}.losses") >= steps)
        runs.kill()
        reached = last_iteration(tmp_path / name)
        assert 2 <= reached < LAST - 1
        before = len(losses_of(name))
        job["words"].insert(2, "--resume")
        runs.start(job, num_processes)
        runs.finish()
        seen = losses_of(name)
        assert [s["iteration"] for s in seen[before:]] == list(range(reached + 1, LAST))
        assert all(step == expected[step["iteration"]] for step in seen)


@pytest.mark.slow
def test_ten_kills_leave_a_checkpoint_to_resume_from(
    runs: Runs, make_job: Any, losses_of: Any, tmp_path: Path
) -> None:
    """Half of the kills come while a checkpoint is written. The seed is drawn by the first run."""
    folder = tmp_path / "run"
    endless = {"SOLVER.MAX_ITER": 10_000}  # however fast the machine is, no run ends by itself
    every = {"SOLVER.CHECKPOINT_PERIOD": 1, "SOLVER.CHECKPOINT_KEEP": 2}
    job = make_job("run", keys(**endless, **every))
    job["words"].insert(2, "--resume")
    reached, unfinished = -1, 0
    for kill in range(10):
        done = num_lines(tmp_path / "run.losses")
        runs.start(job, 1)
        runs.wait_until(lambda: num_lines(tmp_path / "run.losses") > done)
        # The first step's line is there before the first checkpoint is.
        runs.wait_until((folder / "last_checkpoint").exists)
        if kill % 2:
            runs.wait_until(lambda: bool(list(folder.glob("model_*.part"))), pause=0.0005)
        else:
            time.sleep(random.uniform(0, 0.5))
        runs.kill()
        unfinished += bool(list(folder.glob("model_*.part")))
        assert last_iteration(folder) >= reached
        reached = last_iteration(folder)
        assert 1 <= len(list(folder.glob("model_*.pth"))) <= 4
    assert unfinished > 0
    seen: Dict[int, Dict[str, float]] = {}
    for step in losses_of("run"):  # those that were made twice were the same
        assert seen.setdefault(int(step["iteration"]), step) == step
    assert sorted(seen) == list(range(len(seen)))


@pytest.mark.slow
def test_two_processes_leave_out_a_step_that_is_bad_on_one(
    runs: Runs, make_job: Any, losses_of: Any, tmp_path: Path
) -> None:
    more = {"SOLVER.MAX_ITER": 4, "SOLVER.IMS_PER_BATCH": 4, "SOLVER.ACCUMULATION_STEPS": 2}
    job = make_job("run", keys(**{**more, "SOLVER.MAX_NONFINITE_STEPS": 2}), poison=[0, 2])
    runs.start(job, 2)
    runs.finish()
    dumps = sorted(path.name for path in (tmp_path / "run").glob("nonfinite_*"))
    assert dumps == [f"nonfinite_000000{i}_rank{rank}.pth" for i in (0, 2) for rank in (0, 1)]
    steps = losses_of("run")
    assert [step["iteration"] for step in steps] == [0, 1, 2, 3]
    assert all(math.isfinite(value) for step in steps for value in step.values())
    last = torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)
    assert last["trainer"]["_trainer"]["guard"] == {"num_skipped": 2}
    assert all(value.isfinite().all() for value in last["model"].values())


@pytest.mark.slow
def test_two_processes_stop_in_an_evaluation_when_one_is_asked_to(
    runs: Runs, make_job: Any, losses_of: Any, tmp_path: Path
) -> None:
    """One is at an image, the other behind its last one; statistics of norms are not exchanged any more."""
    more = {
        "DATASETS.TEST": "('tiny_val',)",
        "TEST.EVAL_PERIOD": 2,
        "SOLVER.CHECKPOINT_PERIOD": 100,
    }
    job = make_job("run", keys(**{"SOLVER.MAX_ITER": 4, **more}), stop=15)
    runs.start(job, 2)
    runs.finish(status=143)
    assert last_iteration(tmp_path / "run") == 1 and len(losses_of("run")) == 2
    del job["stop"]
    job["words"].insert(2, "--resume")
    runs.start(job, 2)
    runs.finish()
    assert last_iteration(tmp_path / "run") == 3 and len(losses_of("run")) == 4
