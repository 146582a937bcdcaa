"""The command ``evaluate``: an exported model has the quality of the trained one."""

from pathlib import Path

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
    assert "--output '/dev/null/run' is not a folder" in message("none.onnx", "/dev/null/run")
