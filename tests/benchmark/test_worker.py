"""Workers: real processes, their answers and their ends."""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Callable, Dict, Iterator, List
from unittest import mock

import pytest

from effps_solo.benchmark.images import make_images
from effps_solo.benchmark.worker import Task, Worker, WorkerFailed
from effps_solo.utils import machine

MakeTask = Callable[..., Task]


@pytest.fixture
def make_task(tiny_config: Path, tmp_path: Path) -> MakeTask:
    images = tuple(make_images(tmp_path / "images", (64, 96), []))

    def task(kind: str, *words: str, **more: object) -> Task:
        overrides = ("MODEL.WEIGHTS", "", *words)
        return Task(kind, str(tiny_config), overrides, False, 1, images, (64, 96), **more)

    return task


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Task], Worker]]:
    workers: List[Worker] = []

    def open_worker(task: Task) -> Worker:
        workers.append(Worker(task, tmp_path / f"{task.kind}.log"))
        return workers[-1]

    yield open_worker
    for worker in workers:
        worker.close()


def test_a_task_survives_its_way_to_the_worker(make_task: MakeTask) -> None:
    task = make_task("onnx", paths=("a.onnx",), num_things=3)
    assert Task.from_json(json.dumps(asdict(task))) == task


def test_eager_torch(make_task: MakeTask, start: Callable[[Task], Worker]) -> None:
    worker = start(make_task("torch"))
    assert worker.wait_until_ready()["seconds"] > 0
    first, *more = (worker.run(3 * number) for number in range(6))  # the same image
    assert first["things"] is not None
    unaccounted = []
    for again in more:
        assert again["things"] == first["things"]
        assert again["stages"]["load"] > 0 and again["stages"]["draw"] > 0
        inside = [s for name, s in again["stages"].items() if name not in ("load", "draw")]
        unaccounted.append(abs(again["wall"] - sum(inside)))
    # The stages are those of this very run; on a busy machine a run may be held up between them.
    assert min(unaccounted) < 2e-3
    last = worker.finish()
    assert last["loaded_memory_bytes"] <= last["peak_memory_bytes"] < 2**40


def test_panoptic_fpn_as_shipped_leaves_memory_alone(
    make_task: MakeTask, start: Callable[[Task], Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    environments = {}
    for name in [n for n in os.environ if n.startswith(("MALLOC_", "GLIBC_TUNABLES"))]:
        monkeypatch.delenv(name)

    def popen(*_: object, env: Dict[str, str], **__: object) -> mock.MagicMock:
        environments[kind] = env
        return mock.MagicMock()

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(machine.ctypes, "CDLL", mock.MagicMock())  # this process keeps its own ways
    monkeypatch.setattr(machine.platform, "libc_ver", lambda: ("glibc", ""))
    for kind in ("torch", "panoptic-fpn", "panoptic-fpn-shipped"):
        start(make_task(kind))
    kept = {}
    for kind, environment in environments.items():
        with mock.patch.dict(os.environ, environment, clear=True):
            kept[kind] = machine.keep_freed_memory()
    assert kept == {"torch": True, "panoptic-fpn": True, "panoptic-fpn-shipped": False}


def test_a_users_mistake_is_its_message(
    make_task: MakeTask, start: Callable[[Task], Worker]
) -> None:
    worker = start(make_task("torch", "MODEL.OUTPUT", "1"))
    with pytest.raises(WorkerFailed, match="MODEL.OUTPUT") as failure:
        worker.wait_until_ready()
    assert "Traceback" not in str(failure.value) and "Error:" not in str(failure.value)


def test_a_process_that_dies(make_task: MakeTask, start: Callable[[Task], Worker]) -> None:
    worker = start(make_task("conv-fp32"))
    worker._process.kill()
    with pytest.raises(WorkerFailed, match="status -9, perhaps for lack of memory"):
        worker.wait_until_ready()
    with pytest.raises(WorkerFailed, match="status -9"):
        worker.run(0)


@pytest.mark.slow
def test_a_worker_ends_with_its_parent(make_task: MakeTask, tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from effps_solo.benchmark.worker import Task, Worker\n"
        "worker = Worker(Task.from_json(sys.argv[1]), Path(sys.argv[2]))\n"
        "worker.wait_until_ready()\n"
        "print(worker._process.pid, flush=True)\n"
        "os._exit(1)\n"
    )
    text = json.dumps(asdict(make_task("conv-fp32")))
    parent = subprocess.run(
        [sys.executable, "-c", code, text, str(tmp_path / "log")],
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.PIPE,
        check=False,
    )
    pid = int(parent.stdout)
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the worker is still alive")


def test_the_worker_of_an_exported_file_imports_no_torch(project_root: Path) -> None:
    code = (
        "import sys\n"
        "import effps_solo.benchmark.worker, effps_solo.benchmark.exported_backends\n"
        "sys.exit(str({'torch', 'detectron2'} & set(sys.modules) or ''))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True
    )
    assert done.stderr.strip() == ""
