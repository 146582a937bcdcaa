"""What stands on the console, and what in log.txt alone."""

import argparse
import logging
import sys
from pathlib import Path

import pytest

from effps_solo.config import load_config
from effps_solo.engine.console import start_log, start_run

pytestmark = pytest.mark.usefixtures("fresh_loggers")


def test_the_console_is_short_and_the_log_has_all(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = load_config(str(tiny_config))
    start_run(cfg, argparse.Namespace(eval_only=False, config_file=str(tiny_config)))
    for name, level, text in (
        ("effps_solo.engine.progress", "info", "images/s: 3"),
        ("detectron2.evaluation.evaluator", "info", "Inference done 3/4. ETA=0:00:02"),
        ("detectron2.evaluation.evaluator", "info", "Start inference on 4 batches"),
        ("detectron2.engine.defaults", "info", "Model: EfficientPS(...)"),
        ("detectron2.evaluation.testing", "error", "Actual Results: {'PQ': np.float64(1.0)}"),
        ("fvcore.common.checkpoint", "warning", "of another shape"),
    ):
        getattr(logging.getLogger(name), level)(text)
    shown, written = capsys.readouterr().out, (tmp_path / "output" / "log.txt").read_text()
    assert [line.rsplit(": ", 1)[-1] for line in shown.splitlines()] == [
        "3", "Inference done 3/4. ETA=0:00:02", "of another shape",
    ]  # fmt: skip
    assert "\x1b[" not in shown  # no colours where nobody looks at them
    for text in ("Start inference", "Model: EfficientPS", "PyTorch", "SCALE_RANGES", "images/s: 3"):
        assert text in written
    assert (tmp_path / "output" / "config.yaml").read_text() == cfg.dump()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_progress_bar_stands_for_the_lines_of_an_evaluation(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal, raising=False)
    start_log()
    logging.getLogger("detectron2.evaluation.evaluator").info("Inference done 3/4. ETA=0:00:02")
    logging.getLogger("effps_solo.evaluation").info("PQ")
    shown = [line.rsplit(": ", 1)[-1] for line in capsys.readouterr().out.splitlines()]
    assert shown == (["PQ"] if is_terminal else ["Inference done 3/4. ETA=0:00:02", "PQ"])
