"""Round robin: every backend makes one run, then every backend the next, each in its own process.

Whatever slows the machine down for a while hits all of them alike.
"""

import statistics
import time
from collections import deque
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional

from .measure import percentile
from .worker import Answer, Task, Worker, WorkerFailed

NUM_WARM_UP = 2
_PAUSE_SECONDS = 0.05  # threads of the one before may wait actively that long

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What became of a task.

    Attributes:
        error: why it failed; None: it did not.
        start_seconds: from loading to the end of the first run.
        runs: the answers of all runs but those to warm up.
        last: the answer to the end.
    """

    error: Optional[str] = None
    start_seconds: float = 0.0
    runs: List[Answer] = field(default_factory=list)
    last: Answer = field(default_factory=dict)

    @contextmanager
    def noting_failure(self) -> Iterator[None]:
        """Keep the reason when the worker fails."""
        try:
            yield
        except WorkerFailed as error:
            self.error = str(error)

    @property
    def wall(self) -> List[float]:
        """Seconds of each run."""
        return [run["wall"] for run in self.runs]

    def summary(self) -> Dict[str, Any]:
        """As JSON types; {"error"} alone of a task that failed."""
        if self.error is not None:
            return {"error": self.error}
        things = [run["things"] for run in self.runs if run["things"] is not None]
        return {
            "start_seconds": self.start_seconds,
            "p50_seconds": statistics.median(self.wall),
            "p95_seconds": percentile(self.wall, 95),
            "process_seconds": statistics.median(run["process"] for run in self.runs),
            "things": statistics.mean(things) if things else None,
            "stages": median_shares([run["stages"] for run in self.runs]),
            **self.last,
        }


def median_shares(shares: List[Dict[str, float]]) -> Dict[str, float]:
    """Name -> its median over the runs, in the order of their first appearance."""
    names = dict.fromkeys(name for each in shares for name in each)
    return {name: statistics.median(each.get(name, 0.0) for each in shares) for name in names}


def run_rounds(
    tasks: Mapping[str, Task], num_runs: int, logs: Path, say: Say
) -> Dict[str, Outcome]:
    """Measure all tasks in the same rounds.

    Args:
        num_runs: that count, of each.
        logs: folder for what the libraries say.
        say: tells the user how far it is.
    """
    outcomes = {name: Outcome() for name in tasks}
    with ExitStack() as stack:
        workers: Dict[str, Worker] = {}
        for name, task in tasks.items():
            say(f"{name}: starting")
            worker = stack.enter_context(closing(Worker(task, logs / f"{name}.log")))
            with outcomes[name].noting_failure():
                outcomes[name].start_seconds = _start(worker)
                workers[name] = worker
        say(f"{num_runs} rounds of {', '.join(workers) or 'nothing'}")
        for number in range(-NUM_WARM_UP + 1, num_runs):
            turns = deque(name for name in workers if outcomes[name].error is None)
            turns.rotate(-number)  # another one begins each time: some go better after some
            for name in turns:
                time.sleep(_PAUSE_SECONDS)
                with outcomes[name].noting_failure():
                    answer = workers[name].run(max(number, 0))
                    if number >= 0:
                        outcomes[name].runs.append(answer)
        for name, worker in workers.items():
            if outcomes[name].error is None:
                with outcomes[name].noting_failure():
                    outcomes[name].last = worker.finish()
    return outcomes


def _start(worker: Worker) -> float:
    """Load, and make the first run, which may compile; returns the seconds of both."""
    loading: float = worker.wait_until_ready()["seconds"]
    start = time.perf_counter()
    worker.run(0)
    return loading + time.perf_counter() - start


def call_once(task: Task, logs: Path) -> Answer:
    """The answer of a task of one run.

    Raises:
        WorkerFailed: with the reason.
    """
    with closing(Worker(task, logs / f"{task.kind}.log")) as worker:
        worker.wait_until_ready()
        return worker.run(0)
