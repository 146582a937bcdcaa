"""The command ``pack``."""

from pathlib import Path

import numpy as np
import pytest

from effps_solo import load
from effps_solo.__main__ import main
from effps_solo.checkpoint.model_folder import is_model_folder

pytestmark = pytest.mark.usefixtures("fresh_loggers")
NOISE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)


def test_a_run_is_packed(tiny_config: Path, lively_weights: Path, tmp_path: Path) -> None:
    """Into OUTPUT_DIR/model, from the best weights, or the last."""
    output = tmp_path / "output"
    output.mkdir()
    words = ["pack", "--config-file", str(tiny_config), "--licence", "CC0"]
    lively_weights.rename(output / "model_final.pth")
    assert main(words) == 0
    folder = output / "model"
    assert is_model_folder(folder) and "| weights | model_final.pth |" in card(folder)
    assert "| licence | CC0 |" in card(folder) and "not evaluated" in card(folder)
    whole = load(folder)(NOISE)

    (output / "model_final.pth").rename(output / "model_best.pth")
    half = tmp_path / "half"
    assert main([*words, "--half", "--output", str(half)]) == 0
    assert "| weights | model_best.pth, kernels in 16 bits |" in card(half)
    sizes = [(each / "model.safetensors").stat().st_size for each in (half, folder)]
    assert sizes[0] < 0.6 * sizes[1]
    assert (load(half)(NOISE).panoptic > 0).mean() == pytest.approx(
        (whole.panoptic > 0).mean(), abs=0.05
    )


def card(folder: Path) -> str:
    return (folder / "README.md").read_text()


def test_mistakes(tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    def message(*words: str) -> str:
        assert main(["pack", *words]) == 2
        return capsys.readouterr().err

    assert "none.yaml does not exist" in message("--config-file", "none.yaml")
    config = ["--config-file", str(tiny_config)]
    assert "model_final.pth does not exist: train first" in message(*config)
    words = [*config, "--opts", "MODEL.WEIGHTS", "none.pth"]
    assert "checkpoint 'none.pth' does not exist" in message(*words)
