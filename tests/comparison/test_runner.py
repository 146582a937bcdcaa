"""Runs of a comparison with a small program in place of the training, and one real training."""

import fcntl
import json
import math
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
import yaml

from effps_solo.comparison import runner
from effps_solo.comparison.plan import Run, read_table
from effps_solo.comparison.runner import (
    RunFailed,
    check_run,
    complete_run,
    final_scores,
    load_result,
    read_metrics,
    training_seconds,
)
from effps_solo.utils.errors import ConfigError

# Like the training it goes on where it was; it fails, or is killed, once where a file asks for it.
TRAIN = """
import json, os, sys
from pathlib import Path
words = sys.argv[1:]
folder = Path(words[words.index("OUTPUT_DIR") + 1])
assert words[0] == "--config-file" and "--resume" in words
with open(folder / "calls", "a") as file:
    file.write(json.dumps([*words, os.environ.get("OMP_NUM_THREADS")]) + "\\n")
for name, end in (("fail", lambda: sys.exit("no such image")), ("kill", lambda: os.kill(os.getpid(), 9))):
    mark = Path(__file__).with_name(name)
    if mark.exists():
        mark.unlink()
        end()
print("trained")
lines = [{"iteration": 19, "time": 0.5}, {"iteration": 20, "panoptic_seg/PQ": 40.0, "segm/AP": 9.0}]
(folder / "metrics.json").write_text("\\n".join(map(json.dumps, lines)))
"""
MEASURE = """
import json, sys
config, output, *overrides = sys.argv[1:]
assert overrides[-2] == "MODEL.WEIGHTS" and overrides[-1].endswith("model_final.pth")
print("measured", config)
costs = {"parameters": 5, "macs": 6.0, "inference_seconds": 0.1, "peak_memory_bytes": 7}
open(output, "w").write(json.dumps({**costs, "num_images": 2, "device": "cpu", "threads": 1}))
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the two stand-ins."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "stand_in_train.py").write_text(TRAIN)
    (folder / "stand_in_measure.py").write_text(MEASURE)
    monkeypatch.setattr(runner, "TRAIN", ("stand_in_train",))
    monkeypatch.setattr(runner, "MEASURE", "stand_in_measure")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


@pytest.fixture
def run(table: Path) -> Run:
    return read_table(table).runs[4]


def calls(folder: Path) -> List[List[str]]:
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def test_a_run_is_trained_and_measured_once(
    programs: Path, run: Run, output: Path, table: Path
) -> None:
    assert load_result(run, output) is None
    result = complete_run(run, output, num_threads=3)
    assert result == load_result(run, output)
    expected = {"data_set": "Old Town", "method": "New head", "seed": 7, "threads": 1}
    expected |= {"PQ": 40.0, "PQ_th": None, "AP": 9.0, "training_seconds": 10.0, "parameters": 5}
    assert expected.items() <= result.items()
    folder = output / "old_town" / "new_head" / "seed7"
    (words,) = calls(folder)
    assert words[1] == str(table.parent / "town" / "new.yaml") and words[-1] == "3"
    overrides = ["SOLVER.MAX_ITER", "30", "INPUT.CROP_SIZE", "[64, 96]"]
    assert words[3:-1] == [*overrides, "OUTPUT_DIR", str(folder), "SEED", "7"]
    assert "trained\nmeasured" in (folder / "compare.log").read_text()
    assert complete_run(run, output) == result and len(calls(folder)) == 1


def test_a_failed_run_tells_the_end_of_its_log_and_is_tried_again(
    programs: Path, run: Run, output: Path
) -> None:
    (programs / "fail").touch()
    with pytest.raises(RunFailed, match="stand_in_train ended with status 1") as error:
        complete_run(run, output)
    assert "compare.log:\n    no such image" in str(error.value)
    assert load_result(run, output) is None
    (programs / "kill").touch()
    with pytest.raises(RunFailed, match="signal 9, perhaps for lack of memory"):
        complete_run(run, output)
    assert complete_run(run, output)["PQ"] == 40.0
    assert len(calls(output / run.name)) == 3


def test_another_config_does_not_go_on_with_a_run(programs: Path, run: Run, output: Path) -> None:
    complete_run(run, output)
    before = check_run(run)
    config = {**before, "SEED": 99, "OUTPUT_DIR": "elsewhere", "OLD_KEY": 1}
    config["EFFPS_SOLO"] = {"VERSION": "0.1.0"}
    config["MODEL"]["SEM_SEG_HEAD"]["NUM_CLASSES"] = 3  # of the data, where the config says -1
    run.config.write_text(
        run.config.read_text().replace(
            "DEVICE: cpu", "DEVICE: cpu, SEM_SEG_HEAD: {NUM_CLASSES: -1}"
        )
    )
    (output / run.name / "config.yaml").write_text(yaml.safe_dump(config))
    assert complete_run(run, output)["PQ"] == 40.0
    config["SOLVER"]["BASE_LR"] = 0.7
    (output / run.name / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(RunFailed, match="was begun with SOLVER.BASE_LR 0.7, which is 0.001 now"):
        complete_run(run, output)


@pytest.mark.parametrize("text", ["", "SOLVER: [", None])
def test_a_config_that_was_cut_off_is_none(
    programs: Path, run: Run, output: Path, text: Any
) -> None:
    folder = output / run.name
    folder.mkdir(parents=True)
    if text is not None:
        (folder / "config.yaml").write_text(text)
    assert complete_run(run, output)["PQ"] == 40.0


def test_two_processes_do_not_share_a_run(programs: Path, run: Run, output: Path) -> None:
    folder = output / run.name
    folder.mkdir(parents=True)
    with open(folder / "compare.log", "ab") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        with pytest.raises(RunFailed, match="seed7 is in use by another process"):
            complete_run(run, output)
    assert complete_run(run, output)["PQ"] == 40.0


def test_a_damaged_result_is_told(programs: Path, run: Run, output: Path) -> None:
    complete_run(run, output)
    path = output / run.name / "result.json"
    path.write_text(path.read_text()[:40])
    with pytest.raises(RunFailed, match="result.json is damaged .*; remove it"):
        complete_run(run, output)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Whoever starts the tests in the background may have them ignore interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_the_program(
    programs: Path, run: Run, output: Path, interruptible: None
) -> None:
    (programs / "stand_in_train.py").write_text(
        "import os, pathlib, sys, time\n"
        "folder = pathlib.Path(sys.argv[sys.argv.index('OUTPUT_DIR') + 1])\n"
        "worker = os.fork()\n"
        "if worker:\n    (folder / 'pids').write_text(f'{os.getpid()} {worker}')\n"
        "time.sleep(600)\n"
    )
    pids = output / run.name / "pids"

    def interrupt() -> None:
        while not (pids.exists() and " " in pids.read_text()):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        complete_run(run, output)
    thread.join()
    deadline = time.time() + 20
    while any(is_alive(int(pid)) for pid in pids.read_text().split()):
        assert time.time() < deadline
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # what nobody waits for here stays a zombie


@pytest.mark.parametrize(
    "change, message",
    [
        (("some_val", "a_val, b_val"), r"DATASETS.TEST is \('a_val', 'b_val'\); name the one"),
        (("MAX_ITER", "MAX_ITERS"), "unknown key 'SOLVER.MAX_ITERS'"),
        (("DEVICE: cpu", "DEVICE: cuda:99"), "torch sees no GPU"),
    ],
)
def test_mistakes_in_a_config(
    run: Run, change: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    check_run(run)
    run.config.write_text(run.config.read_text().replace(*change))
    with pytest.raises(ConfigError, match=message):
        check_run(run)


def test_training_time_counts_every_iteration_once() -> None:
    """20 iterations of 1 s, then 20 of 2 s; stopped at 45, on from 40: 6 of 3 s, 14 of 5 s."""
    metrics: List[Dict[str, Any]] = [
        {"iteration": 19, "time": 1.0},
        {"iteration": 39, "time": 2.0, "loss_mask": 0.3},
        {"iteration": 45, "time": 3.0},
        {"iteration": 40, "panoptic_seg/PQ": 3.0},
        {"iteration": 59, "time": 5.0},
    ]
    assert training_seconds(metrics) == 20 + 40 + 18 + 70
    again = [*metrics, {"iteration": 39, "time": 4.0}]
    assert training_seconds(again) == 20 + 80 + 18 + 70
    assert training_seconds([]) == 0


def test_scores_are_those_of_the_last_evaluation() -> None:
    metrics = [
        {"iteration": 10, "panoptic_seg/PQ": 1.0, "panoptic_seg/PQ_th": 2.0, "segm/AP": 3.0},
        {"iteration": 20, "panoptic_seg/PQ": 4.0, "panoptic_seg/PQ_th": math.nan},
        {"iteration": 20, "time": 1.0},
    ]
    missing = dict.fromkeys(["PQ_th", "PQ_st", "Boundary_PQ", "AP", "AP75"])
    assert final_scores(metrics) == {"PQ": 4.0, **missing}
    with pytest.raises(RunFailed, match="without PQ and AP"):
        final_scores(metrics[2:])


def test_lines_that_were_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text('{"iteration": 1}\n{"itera{"iteration": 2}\n{"iteration": 3, "x": NaN}\n{"i')
    assert [line["iteration"] for line in read_metrics(path)] == [1, 3]
