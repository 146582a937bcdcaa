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
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Dict, Protocol, Tuple

from effps_solo.utils.errors import UserError

Answer = Dict[str, Any]

_PROJECT = Path(__file__).resolve().parents[2]
_GRACE_SECONDS = 20
# Kind of a task -> module beside this one with open_job(task) -> Job.
_MODULES = {
    "torch": "torch_backends",
    "compiled": "torch_backends",
    "bf16": "torch_backends",
    "compiled-bf16": "torch_backends",
    "onnx": "exported_backends",
    "openvino": "exported_backends",
    "panoptic-fpn": "baselines",
    "panoptic-fpn-shipped": "baselines",
    "panoptic-deeplab": "baselines",
    "conv-fp32": "limit",
    "conv-bf16": "limit",
    "prepare": "preparation",
    "objects": "synthetic_objects",
}

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
        paths: exported files, to write or to run.
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
        for name, value in values.items():
            values[name] = tuple(value) if isinstance(value, list) else value
        return cls(**values)


class Job(Protocol):
    """What is measured, inside a worker."""

    def run(self, number: int) -> Answer:
        """Once more; the image is ``number`` modulo their count."""

    def finish(self) -> Answer:
        """What is known when all runs are made."""


class Worker:
    """The process of one task, seen from its parent."""

    def __init__(self, task: Task, log: Path) -> None:
        """
        Args:
            log: file for what the libraries say.
        """
        environment = dict(os.environ)
        environment["PYTHONPATH"] = os.pathsep.join([str(_PROJECT), *_python_path()])
        environment.update(OMP_NUM_THREADS=str(task.threads), MKL_NUM_THREADS=str(task.threads))
        environment.update(_AS_SHIPPED.get(task.kind, {}))
        with open(log, "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=environment,
                text=True,
            )
        self._log = log
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
        try:
            self._input.close()
        except BrokenPipeError:
            pass
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._process.kill()
            self._process.wait()
            self._output.close()

    @property
    def _input(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _output(self) -> IO[str]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _send(self, line: str) -> None:
        try:
            self._input.write(line + "\n")
            self._input.flush()
        except BrokenPipeError:
            pass  # it died; the answer that does not come tells

    def _receive(self) -> Answer:
        line = self._output.readline()
        if not line:
            status = self._process.wait()
            memory = ", perhaps for lack of memory" if status < 0 else ""
            raise WorkerFailed(
                f"its process ended with status {status}{memory}{self._last_words()}"
            )
        answer: Answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(answer["error"])
        return answer

    def _last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""


def _python_path() -> Tuple[str, ...]:
    return tuple(filter(None, [os.environ.get("PYTHONPATH")]))


def main() -> None:
    """See the head of this module."""
    from .measure import timed

    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(content: Answer) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    task = Task.from_json(sys.stdin.readline())
    jobs = []
    try:
        seconds = timed(lambda: jobs.append(_open_job(task)))
        answer({"seconds": seconds.wall})
        for line in sys.stdin:
            answer(jobs[0].run(int(line)))
        answer(jobs[0].finish())
    except Exception as error:  # each runtime raises types of its own
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        name = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        answer({"error": name + lines[0]})


def _open_job(task: Task) -> Job:
    module = importlib.import_module(f".{_MODULES[task.kind]}", __package__)
    job: Job = module.open_job(task)
    return job


if __name__ == "__main__":
    main()
