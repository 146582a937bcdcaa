"""A process for each thing that is measured, so that its peak memory is its own.

``python -m effps_solo.benchmark.worker`` reads a :class:`Task` from its first line of input, then a
number in every line: that of the run to make. It answers each line with one of JSON, the last one,
behind the end of the input, with what :meth:`Job.finish` gives. It ends with its parent, whose end
is the end of the input. Imports nothing heavy, so that no backend pays for the libraries of another.
"""

import importlib
import json
import os
import subprocess
import sys
import time
import traceback
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

from effps_solo.utils.errors import UserError

Answer = Dict[str, Any]

PROJECT = Path(__file__).resolve().parents[2]
_GRACE_SECONDS = 20
# Module beside this one with open_job(task) -> Job, and the kinds of its tasks.
_MODULES = (
    ("torch_backends", ("torch", "compiled", "bf16", "compiled-bf16")),
    ("exported_backends", ("onnx", "openvino")),
    ("peers", ("peer-onnx", "peer-openvino")),
    ("baselines", ("panoptic-fpn", "panoptic-fpn-shipped", "panoptic-deeplab")),
    ("limit", ("conv-fp32", "conv-bf16")),
    ("preparation", ("prepare",)),
    ("synthetic_objects", ("objects",)),
)

# Kinds whose memory nobody tunes, as Detectron2 does not, and the default of glibc, said aloud: processes in
# which a setting of malloc is given leave it alone (:func:`effps_solo.utils.machine.keep_freed_memory`).
_AS_SHIPPED = {"panoptic-fpn-shipped": {"MALLOC_PERTURB_": "0"}}


class WorkerFailed(UserError):
    """A worker could not do what it was asked for; the message says why."""


@dataclass(frozen=True)
class Task:
    """What a worker is for.

    Attributes:
        kind: of ``_MODULES``.
        config_file, overrides, allow_unsafe: of :func:`effps_solo.config.load_config`.
        threads: of the CPU.
        images: files, all of the size ``image_size``.
        image_size: (H, W).
        paths: exported files, to write or to run; of a peer.
        num_things: that a baseline is to find.
    """

    kind: str
    config_file: str
    overrides: Tuple[str, ...]
    allow_unsafe: bool
    threads: int
    images: Tuple[str, ...]
    image_size: Tuple[int, int]
    paths: Tuple[str, ...] = ()
    num_things: int = 0

    @classmethod
    def from_json(cls, text: str) -> "Task":
        """Of the JSON of ``asdict``."""
        values: Dict[str, Any] = json.loads(text)
        values.update({k: tuple(v) for k, v in values.items() if isinstance(v, list)})
        return cls(**values)


class Job(ABC):
    """What is measured, inside a worker."""

    @abstractmethod
    def run(self, number: int) -> Answer:
        """Once more; the image is ``number`` modulo their count."""

    def finish(self) -> Answer:
        """What is known when all runs are made."""
        return {}


class Worker:
    """The process of one task, seen from its parent; what its libraries say goes into the file ``log``."""

    def __init__(self, task: Task, log: Path) -> None:
        with open(log, "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**environment(task.threads), **_AS_SHIPPED.get(task.kind, {})},
                text=True,
            )
        assert self._process.stdin and self._process.stdout
        self._input, self._output, self._log = self._process.stdin, self._process.stdout, log
        self._send(json.dumps(asdict(task)))

    def wait_until_ready(self) -> Answer:
        """{"seconds"} that loading took. Raises WorkerFailed."""
        return self._receive()

    def run(self, number: int) -> Answer:
        """See :meth:`Job.run`. Raises WorkerFailed."""
        self._send(str(number))
        return self._receive()

    def finish(self) -> Answer:
        """See :meth:`Job.finish`. Raises WorkerFailed."""
        self._input.close()
        return self._receive()

    def close(self) -> None:
        """End the process, whatever it does."""
        with suppress(BrokenPipeError):
            self._input.close()
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            self._output.close()

    def _send(self, line: str) -> None:
        with suppress(BrokenPipeError):  # it died; the answer that does not come tells
            print(line, file=self._input, flush=True)

    def _receive(self) -> Answer:
        line = self._output.readline()
        if not line:
            status = self._process.wait()
            memory = ", perhaps for lack of memory" if status < 0 else ""
            lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            last_words = f": {lines[-1]}" if lines else ""
            raise WorkerFailed(f"its process ended with status {status}{memory}{last_words}")
        answer: Answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(answer["error"])
        return answer


def environment(num_threads: Optional[int]) -> Dict[str, str]:
    """Of a program that is to find this package and use so many threads; None leaves that to torch."""
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    names = () if num_threads is None else ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    threads = dict.fromkeys(names, str(num_threads))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **threads}


def main() -> None:
    """See the head of this module."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(content: Answer) -> None:
        print(json.dumps(content), file=answers, flush=True)

    task = Task.from_json(sys.stdin.readline())
    try:
        start = time.perf_counter()
        module = next(module for module, kinds in _MODULES if task.kind in kinds)
        job: Job = importlib.import_module(f".{module}", __package__).open_job(task)
        answer({"seconds": time.perf_counter() - start})
        for line in sys.stdin:
            answer(job.run(int(line)))
        answer(job.finish())
    except Exception as error:  # each runtime raises types of its own
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        name = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        answer({"error": name + lines[0]})


if __name__ == "__main__":
    main()
