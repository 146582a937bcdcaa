"""train_net.py: training, evaluation, resumption, and what a user can get wrong."""

import json
import math
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from torch.multiprocessing import ProcessExitedException

import effps_solo.engine
from effps_solo.utils.errors import UserError

pytestmark = pytest.mark.usefixtures("fresh_loggers")

Run = Callable[..., Dict[str, Any]]


@pytest.fixture
def script(project_root: Path) -> Path:
    return project_root / "train_net.py"


@pytest.fixture
def run(train: Run, tiny_config: Path) -> Run:
    """A training with command-line arguments behind the config file."""

    def start(*words: str) -> Dict[str, Any]:
        return train("--config-file", str(tiny_config), *words)

    return start


@pytest.fixture
def mistake(
    script: Path, tiny_config: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> Callable[..., str]:
    """Run the script as a program on bad input; returns the one message it ends with."""

    def start(*words: str) -> str:
        arguments = [str(script), "--config-file", str(tiny_config), *words]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as exit_info:
            runpy.run_path(str(script), run_name="__main__")
        message = exit_info.value.code
        assert isinstance(message, str)  # Python prints it and exits with status 1
        assert message.startswith("effps-solo train: ") and "\n" not in message
        output = "".join(capfd.readouterr())
        assert "Traceback" not in output
        return message

    return start


def metrics(tmp_path: Path) -> List[Dict[str, Any]]:
    lines = (tmp_path / "output" / "metrics.json").read_text().splitlines()
    return [json.loads(line) for line in lines]


def same(first: Dict[str, Any], second: Dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(
        first[k] == pytest.approx(second[k], abs=1e-4, nan_ok=True) for k in first
    )


def test_train_evaluate_and_evaluate_again(run: Run, tmp_path: Path) -> None:
    results = run()
    scores = results["panoptic_seg"]
    names = {f"{key}{group}" for key in ("PQ", "SQ", "RQ") for group in ("", "_th", "_st")}
    assert names <= set(scores) and {"PQ-person", "PQ-car", "PQ-road", "PQ-sky"} <= set(scores)
    assert 0 <= scores["PQ"] <= 100 and math.isfinite(results["sem_seg"]["mIoU"])
    assert metrics(tmp_path)[-1]["panoptic_seg/PQ"] == pytest.approx(scores["PQ"])
    log = (tmp_path / "output" / "log.txt").read_text()
    assert (
        "Panoptic quality on tiny_val" in log and "person" in log.partition("Panoptic quality")[2]
    )
    weights = tmp_path / "output" / "model_final.pth"
    for words in ((), ("MODEL.WEIGHTS", str(weights))):  # without words, those of the training
        again = run("--eval-only", *words)
        assert again.keys() == results.keys()
        assert all(same(again[task], results[task]) for task in results)
    folder = tmp_path / "output" / "inference" / "tiny_val"
    assert "what segments were taken for" in (folder / "report.html").read_text().lower()
    written = json.loads((folder / "results.json").read_text())
    assert written["sem_seg"]["mIoU"] == pytest.approx(again["sem_seg"]["mIoU"])


def test_a_report_that_cannot_be_written_costs_no_results(run: Run, tmp_path: Path) -> None:
    (tmp_path / "output" / "inference" / "tiny_val" / "report.html").mkdir(parents=True)
    assert "panoptic_seg" in run("SOLVER.MAX_ITER", "1")
    assert "No report on tiny_val" in (tmp_path / "output" / "log.txt").read_text()


def test_without_a_semantic_head_there_is_ap_alone(run: Run, tmp_path: Path) -> None:
    words = ("MODEL.SEM_SEG_HEAD.NAME", "", "MODEL.OUTPUTS", "['instances']")
    results = run(*words)
    assert set(results) == {"segm"} and math.isfinite(results["segm"]["AP"])
    log = (tmp_path / "output" / "log.txt").read_text()
    assert "No PQ and mIoU: the model has no semantic head" in log
    assert "No report on tiny_val: no panoptic segmentation was evaluated" in log
    weights = str(tmp_path / "output" / "model_final.pth")
    again = run("--eval-only", *words, "MODEL.WEIGHTS", weights)
    assert set(again) == {"segm"} and same(again["segm"], results["segm"])


def test_evaluation_of_averaged_weights_in_augmented_views(run: Run, tmp_path: Path) -> None:
    run("SOLVER.MAX_ITER", "1", "SOLVER.EMA.ENABLED", "True", "DATASETS.TEST", "()")
    words = ("MODEL.WEIGHTS", str(tmp_path / "output" / "model_final.pth"))
    views = ("TEST.AUG.ENABLED", "True", "TEST.AUG.SCALES", "(0.5, 1.0)")
    scores = run("--eval-only", *words, *views)["panoptic_seg"]
    assert 0 <= scores["PQ"] <= 100
    log = (tmp_path / "output" / "log.txt").read_text()
    assert "Taking the averaged weights" in log


def test_resume_of_a_finished_training_says_so(run: Run, tmp_path: Path) -> None:
    words = ("SOLVER.MAX_ITER", "1", "DATASETS.TEST", "()")
    log = tmp_path / "output" / "log.txt"
    run(*words)
    assert "iterations are done" not in log.read_text()
    run("--resume", *words)
    assert "All 1 iterations are done" in log.read_text()


def test_resume_goes_on_with_optimizer_and_schedule(run: Run, tmp_path: Path) -> None:
    common = ("TEST.EVAL_PERIOD", "0", "SOLVER.CHECKPOINT_PERIOD", "2")
    run("SOLVER.MAX_ITER", "4", *common)
    folder = tmp_path / "output"
    first = torch.load(folder / "model_0000003.pth", weights_only=True)
    assert first["iteration"] == 3
    start = time.time()
    run("--resume", "SOLVER.MAX_ITER", "6", *common)
    last = torch.load(folder / "model_final.pth", weights_only=True)
    assert last["iteration"] == 5
    assert not (folder / "model_0000001.pth").stat().st_mtime > start  # nothing was done twice
    states = last["trainer"]["_trainer"]["optimizer"]["state"].values()
    assert {int(state["step"]) for state in states} == {6}
    assert last["trainer"]["hooks"]["LRScheduler"]["last_epoch"] == 6
    before = first["trainer"]["_trainer"]["optimizer"]["state"].values()
    assert all(bool(torch.isfinite(state["exp_avg"]).all()) for state in before)
    assert sum(float(state["exp_avg"].abs().sum()) for state in before) > 0


def test_a_used_folder_is_refused_and_overwritten_on_request(run: Run, tmp_path: Path) -> None:
    words = ("SOLVER.MAX_ITER", "1", "TEST.EVAL_PERIOD", "0", "DATASETS.TEST", "()")
    folder = tmp_path / "output"
    run("--overwrite", *words)  # nothing is there yet
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(UserError, match="holds a training already .*--resume .*--overwrite"):
        run(*words)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    with pytest.raises(UserError, match="MODEL.WEIGHTS .* is in OUTPUT_DIR"):
        run("--overwrite", *words, "MODEL.WEIGHTS", str(folder / "model_final.pth"))
    run("--overwrite", *words)
    assert [line["iteration"] for line in metrics(tmp_path)] == [0]  # two curves do not join
    last = torch.load(tmp_path / "output" / "model_final.pth", weights_only=True)
    states = last["trainer"]["_trainer"]["optimizer"]["state"].values()
    assert {int(state["step"]) for state in states} == {1}


@pytest.mark.parametrize(
    "number, processes",
    [
        (signal.SIGTERM, 1),
        pytest.param(signal.SIGINT, 1, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 2, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 2, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_says_how_to_go_on(
    number: int,
    processes: int,
    run: Run,
    script: Path,
    tiny_config: Path,
    tmp_path: Path,
    project_root: Path,
) -> None:
    """A signal to all processes of the program, as at a terminal, its loaders included."""
    words = ["DATASETS.TEST", "()", "DATALOADER.NUM_WORKERS", "1"]
    options = ["--config-file", str(tiny_config), "--num-processes", str(processes)]
    output = tmp_path / "output.txt"
    with open(output, "w") as file:
        process = subprocess.Popen(
            [sys.executable, str(script), *options, "SOLVER.MAX_ITER", "100000", *words],
            cwd=project_root,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.time() + 240
        while "images/s" not in output.read_text():
            assert process.poll() is None and time.time() < deadline, output.read_text()
            time.sleep(0.1)
        os.killpg(process.pid, number)
        assert process.wait(120) == 128 + number, output.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    *_, last = output.read_text().splitlines()
    assert "Stopped by" in last and last.endswith("the same command with --resume")
    assert "Traceback" not in output.read_text() and "\x1b[" not in output.read_text()
    name = (tmp_path / "output" / "last_checkpoint").read_text()
    reached = torch.load(tmp_path / "output" / name, weights_only=True)["iteration"]
    assert reached >= 2
    run("--resume", "SOLVER.MAX_ITER", str(reached + 2), *words)
    end = torch.load(tmp_path / "output" / "model_final.pth", weights_only=True)
    assert end["iteration"] == reached + 1


@pytest.mark.slow
def test_a_killed_run_continues(
    run: Run, script: Path, tiny_config: Path, tmp_path: Path, project_root: Path
) -> None:
    words = ["SOLVER.CHECKPOINT_PERIOD", "2", "TEST.EVAL_PERIOD", "0"]
    command = [sys.executable, str(script), "--config-file", str(tiny_config), *words]
    folder = tmp_path / "output"
    process = subprocess.Popen(
        [*command, "SOLVER.MAX_ITER", "100000"],
        cwd=project_root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.time() + 240
        while not (folder / "model_0000003.pth").exists():
            assert process.poll() is None and time.time() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    name = (folder / "last_checkpoint").read_text()
    reached = torch.load(folder / name, weights_only=True)["iteration"]
    assert reached >= 3
    run("--resume", "SOLVER.MAX_ITER", str(reached + 3), *words)
    last = torch.load(folder / "model_final.pth", weights_only=True)
    assert last["iteration"] == reached + 2
    states = last["trainer"]["_trainer"]["optimizer"]["state"].values()
    assert {int(state["step"]) for state in states} == {reached + 3}


def test_missing_data_root(mistake: Callable[..., str], tmp_path: Path) -> None:
    message = mistake("DATASETS.PANOPTIC.ROOT", str(tmp_path / "nowhere"))
    assert f"{tmp_path}/nowhere" in message and "DATASETS.PANOPTIC.ROOT" in message


@pytest.mark.parametrize("words", [(), ("--eval-only",)])
def test_missing_data_leaves_no_folder(
    mistake: Callable[..., str], tmp_path: Path, tiny_set: Path, words: Tuple[str, ...]
) -> None:
    split = "val" if words else "train"
    shutil.rmtree(tiny_set / f"panoptic_{split}")
    assert f"tiny_{split}" in mistake(*words)
    assert not (tmp_path / "output").exists()


def test_missing_street_scenes(mistake: Callable[..., str]) -> None:
    names = ("street_scenes_panoptic_train", "street_scenes_panoptic_val")
    message = mistake("DATASETS.TRAIN", f"('{names[0]}',)", "DATASETS.TEST", f"('{names[1]}',)",
                      "MODEL.SEM_SEG_HEAD.NUM_CLASSES", "19",
                      "MODEL.INSTANCE_HEAD.NUM_CLASSES", "8")  # fmt: skip
    assert "generate_street_scenes.py" in message


def test_unknown_key(mistake: Callable[..., str]) -> None:
    assert "SOLVER.MAX_ITERS" in mistake("SOLVER.MAX_ITERS", "3")


def test_missing_config_file(mistake: Callable[..., str], tiny_config: Path) -> None:
    tiny_config.unlink()
    assert f"{tiny_config}': does not exist" in mistake()


@pytest.mark.parametrize("key, value", [("SEM_SEG_HEAD", 5), ("INSTANCE_HEAD", 3)])
def test_class_count(mistake: Callable[..., str], key: str, value: int) -> None:
    message = mistake(f"MODEL.{key}.NUM_CLASSES", str(value))
    assert f"MODEL.{key}.NUM_CLASSES is {value}" in message and "set it to" in message


def test_missing_weights(mistake: Callable[..., str], tmp_path: Path) -> None:
    message = mistake("--eval-only", "MODEL.WEIGHTS", str(tmp_path / "none.pth"))
    assert f"{tmp_path}/none.pth" in message and "MODEL.WEIGHTS" in message


def test_evaluation_of_a_model_that_nobody_trained(mistake: Callable[..., str]) -> None:
    message = mistake("--eval-only")
    assert "MODEL.WEIGHTS is ''" in message and "train first" in message
    assert "none of a trained model" in mistake("--eval-only", "--resume")  # of what is not there


def test_png_without_entry(mistake: Callable[..., str], tiny_set: Path) -> None:
    folder = tiny_set / "panoptic_train"
    shutil.copy(folder / "0.png", folder / "stray.png")
    message = mistake()
    assert str(folder) in message and "stray.png" in message


def test_entry_without_png(mistake: Callable[..., str], tiny_set: Path) -> None:
    (tiny_set / "panoptic_train" / "1.png").unlink()
    message = mistake()
    assert f"{tiny_set}/panoptic_train" in message and "1.png" in message


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("folder", ["train", "panoptic_train"])
def test_sizes_of_image_and_label(
    mistake: Callable[..., str], tiny_set: Path, folder: str, workers: int
) -> None:
    for path in (tiny_set / folder).iterdir():
        Image.open(path).resize((90, 60), Image.Resampling.NEAREST).save(path)
    limit = ("DATALOADER.MAX_UNUSABLE_IMAGES", "0")
    message = mistake("DATALOADER.NUM_WORKERS", str(workers), *limit)
    assert f"{tiny_set}/{folder}/" in message and message.count(".png") <= 2


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("folder", ["train", "panoptic_train"])
def test_damaged_files(
    mistake: Callable[..., str], tiny_set: Path, folder: str, workers: int
) -> None:
    for path in (tiny_set / folder).iterdir():
        path.write_bytes(path.read_bytes()[:60])
    message = mistake("DATALOADER.NUM_WORKERS", str(workers))
    assert f"{tiny_set}/{folder}/" in message and "cannot be read" in message


def test_segment_that_the_json_does_not_list(mistake: Callable[..., str], tiny_set: Path) -> None:
    for path in (tiny_set / "panoptic_train").iterdir():
        pixels = np.array(Image.open(path))
        pixels[:4, :4] = (9, 9, 0)
        Image.fromarray(pixels).save(path)
    message = mistake()
    assert "panoptic_train" in message and f"[{9 + 9 * 256}]" in message


def test_a_bug_keeps_its_traceback(
    script: Path, tiny_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(script), "--config-file", str(tiny_config)])
    monkeypatch.setattr("effps_solo.cli.training.load_config", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runpy.run_path(str(script), run_name="__main__")


@pytest.mark.slow
@pytest.mark.parametrize(
    "error, status",
    [
        (ProcessExitedException("", 0, 9, exit_code=1), 1),
        (
            ProcessExitedException(
                "process 0 got SIGKILL", 0, 9, exit_code=-9, signal_name="SIGKILL"
            ),
            "effps-solo train: process 0 got SIGKILL; see dmesg",
        ),
    ],
)
def test_a_process_that_ends(
    script: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: Any
) -> None:
    """One has said why, unless a signal ended it."""
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.setattr(effps_solo.engine, "launch", mock.Mock(side_effect=error))
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script), run_name="__main__")
    assert end.value.code == status


def test_the_program_itself(script: Path, tiny_config: Path, project_root: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(script), "--config-file", str(tiny_config), "SOLVER.NONE", "3"],
        cwd=project_root,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "SOLVER.NONE" in result.stderr and "Traceback" not in result.stderr
