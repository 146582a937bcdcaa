"""The command ``evaluate``: an exported model has the quality of the trained one."""

import re
from pathlib import Path
from typing import Callable, List

import pytest

from effps_solo.__main__ import main
from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.inference.predictor import Predictor
from effps_solo.report import open_run

pytestmark = pytest.mark.usefixtures("fresh_loggers")


@pytest.mark.slow
def test_an_exported_model_has_the_quality_of_the_trained_one(
    tiny_config: Path, lively_weights: Path, tmp_path: Path
) -> None:
    words = ["MODEL.PANOPTIC_FUSION.SCORE_THRESH", "0.05", "MODEL.WEIGHTS", str(lively_weights)]
    config, model, run = str(tiny_config), str(tmp_path / "model.pt2"), str(tmp_path / "run")
    export = ["export", "--config-file", config, "--image-size", "64", "96", "--output", model]
    assert main([*export, "--opts", *words]) == 0
    assert main(["evaluate", "--config-file", config, "--model", model, "--output", run]) == 0

    cfg = load_config(config, [*words, "MODEL.OUTPUTS", "['panoptic_seg']"])
    expected = Trainer.test(cfg, Predictor(cfg).model)["panoptic_seg"]
    found = open_run(Path(run))
    assert any(image.segments.predictions for image in found.record.images)
    assert found.results["panoptic_seg"] == pytest.approx(expected, abs=0.1, nan_ok=True)
    assert (found.folder / "report.html").is_file()


def test_a_model_folder_on_data_in_another_order(
    tiny_config: Path,
    lively_weights: Path,
    lively_model: Path,
    other_classes: Callable[..., List[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    """The data of the training are gone; PQ, mIoU and AP of each class are those that they would give."""
    words = ["MODEL.PANOPTIC_FUSION.SCORE_THRESH", "0.05"]
    cfg = load_config(str(tiny_config), [*words, "MODEL.WEIGHTS", str(lively_weights)])
    expected = Trainer.test(cfg, Predictor(cfg).model)
    data = other_classes((90, "sky", 0), (3, "car", 1), (21, "road", 0), (7, "person", 1))
    run, evaluate = str(tmp_path / "run"), ["evaluate", "--model", str(lively_model)]
    assert main([*evaluate, "--output", run, "--opts", *data, *words]) == 0
    printed = capsys.readouterr().out
    for title in ("Panoptic quality", "Mean IoU", "Mask AP"):  # as one table each, and nothing else
        assert printed.count(f"{title} on ") == 1
    assert not re.search("float64|OrderedDict|copypaste|Per-category", printed)
    found = open_run(Path(run))
    assert any(image.segments.predictions for image in found.record.images)
    assert found.results.keys() == expected.keys()
    for task, metrics in expected.items():
        assert found.results[task] == pytest.approx(metrics, abs=0.01, nan_ok=True), task

    data = other_classes((90, "sky", 0), (3, "bus", 1), (21, "road", 0), (7, "person", 1))
    config = ["--config-file", str(tiny_config), "--output", run, "--opts", *data]
    assert main([*evaluate, *config]) == 2
    message = capsys.readouterr().err
    assert "things person, car; stuff road, sky" in message
    assert "things bus, person; stuff sky, road" in message


def test_mistakes(tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def message(model: str, output: str, *words: str) -> str:
        common = ["evaluate", "--config-file", str(tiny_config), "--model", model]
        assert main([*common, "--output", output, *words]) == 2
        return capsys.readouterr().err

    output = str(tmp_path / "run")
    assert "none.onnx does not exist" in message("none.onnx", output)
    assert "'onnx' does not read none.xml" in message("none.xml", output, "--backend", "onnx")
    bf16 = message("none.onnx", output, "--precision", "bf16")
    assert "none.onnx can run in bf16 with the backend openvino alone" in bf16
    assert "model.pth does not exist" in message("model.pth", output)
    assert main(["evaluate", "--model", "none.onnx", "--output", output]) == 2
    assert "none.onnx names no data sets; add --config-file" in capsys.readouterr().err
    assert "--output '/dev/null/run' is not a folder" in message("none.onnx", "/dev/null/run")
