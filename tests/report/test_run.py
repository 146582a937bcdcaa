"""Finding what an evaluation left behind."""

import json
import math
from pathlib import Path
from typing import Callable

import pytest

from effps_solo.evaluation.record import RECORD_NAME
from effps_solo.evaluation.thresholds import Curve, Tuning
from effps_solo.modeling.outputs import FusionThresholds
from effps_solo.report.run import (
    HISTORY_NAME,
    RESULTS_NAME,
    TUNING_NAME,
    open_run,
    write_results,
    write_tuning,
)
from effps_solo.utils.errors import UserError

WriteRun = Callable[..., Path]


def test_by_its_output_dir_and_by_its_folder(write_run: WriteRun) -> None:
    output = write_run("run")
    folder = output / "inference" / "street_val"
    write_results({"sem_seg": {"mIoU": 61.5, "IoU-sky": math.nan}}, folder)
    (output / HISTORY_NAME).write_text(
        '{"iteration": 9, "lr": 1}\n{"lr": 2}\n{"iteration": 4}\n{"it'
    )
    for path in (output, folder):
        run = open_run(path)
        assert run.folder == folder and run.name == str(path)
        assert run.results["sem_seg"]["mIoU"] == 61.5
        assert math.isnan(run.results["sem_seg"]["IoU-sky"])
        assert [line["iteration"] for line in run.history] == [4, 9]
    assert json.loads((folder / RESULTS_NAME).read_text())["sem_seg"]["IoU-sky"] is None


def test_without_results_and_history(write_run: WriteRun) -> None:
    run = open_run(write_run("run"))
    assert run.results == {} and run.history == []


def test_tuned_thresholds(write_run: WriteRun) -> None:
    output = write_run("run")
    assert open_run(output).tuning is None
    current, chosen = FusionThresholds(), FusionThresholds(0.3, 0.5, 0.0)
    curve = Curve("SCORE_THRESH", [0.3, 0.5], [50.0, 40.0], [50.0, 40.0], [None, None])
    for gains in ((2.0, 0.5, (1.0, 3.0)), (None, None, ())):
        tuning = Tuning("model.pth", 9, current, chosen, 40.0, 50.0, *gains, [curve])
        write_tuning(tuning, output)
        assert open_run(output).tuning == tuning
    for damaged in ("", "[]", '{"current": {}}'):
        (output / TUNING_NAME).write_text(damaged)
        with pytest.raises(UserError, match="thresholds.json.*run tune again"):
            open_run(output)


def test_several_data_sets(write_run: WriteRun) -> None:
    output = write_run("run")
    other = output / "inference" / "other_val"
    other.mkdir()
    (other / RECORD_NAME).write_bytes((output / "inference/street_val" / RECORD_NAME).read_bytes())
    with pytest.raises(UserError, match="--data-set: other_val, street_val"):
        open_run(output)
    assert open_run(output, "other_val").folder == other


def test_no_evaluation(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="train --eval-only"):
        open_run(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 3}', '{"a": {"b": "c"}}'])
def test_damaged_results(write_run: WriteRun, content: str) -> None:
    output = write_run("run")
    (output / "inference" / "street_val" / RESULTS_NAME).write_text(content)
    with pytest.raises(UserError, match=RESULTS_NAME):
        open_run(output)
