"""The command ``report``, and the report after an evaluation."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from effps_solo.__main__ import main
from effps_solo.evaluation.matching import ImageSegments
from effps_solo.evaluation.record import EvaluatedImage, EvaluationRecord
from effps_solo.structures.classes import PanopticClass


@pytest.fixture
def run(tmp_path: Path) -> Path:
    Image.fromarray(np.zeros((4, 6, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    image = EvaluatedImage(
        1, "a.jpg", str(tmp_path / "a.jpg"), "a.png", "a.png", ImageSegments((), (), ())
    )
    classes = (PanopticClass("car", True, 26, (0, 0, 142)),)
    EvaluationRecord("a_val", classes, (image,)).write(tmp_path / "run" / "inference" / "a_val")
    return tmp_path / "run"


def test_one_run_and_two(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(run)]) == 0
    assert main(["report", str(run), str(run), "--images", "2"]) == 0
    assert main(["report", str(run), "--output", "new/file.html"]) == 0
    assert capsys.readouterr().out.split() == ["report.html", "comparison.html", "new/file.html"]
    for name in ("report.html", "comparison.html", "new/file.html"):
        assert "<!DOCTYPE html>" in (tmp_path / name).read_text()


@pytest.mark.parametrize(
    "words, message",
    [
        (["nowhere"], "no evaluation.json in 'nowhere'"),
        (["{run}", "--data-set", "b_val"], "no evaluation.json in"),
        (["{run}", "{run}", "{run}"], "one run or two, not 3"),
        (["{run}", "--output", "/dev/null/x.html"], "--output '/dev/null'"),
    ],
)
def test_mistakes(run: Path, capsys: pytest.CaptureFixture, words: list, message: str) -> None:
    assert main(["report", *(word.format(run=run) for word in words)]) == 2
    assert message in capsys.readouterr().err
    assert json.loads((run / "inference" / "a_val" / "evaluation.json").read_text())["format"] == 2
