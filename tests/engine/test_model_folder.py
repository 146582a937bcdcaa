"""What a training leaves for others."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from effps_solo.checkpoint.model_folder import FOLDER_NAME
from effps_solo.checkpoint.safe_loading import safe_load_checkpoint
from effps_solo.config import load_config
from effps_solo.engine import Trainer

pytestmark = pytest.mark.usefixtures("fresh_loggers")


def train(config: Path, *words: str) -> Path:
    """OUTPUT_DIR of a training."""
    cfg = load_config(str(config), list(words))
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    return Path(cfg.OUTPUT_DIR)


def differing(folder: Path, checkpoint: Any) -> int:
    """How many tensors of OUTPUT_DIR/model are not those of a state dict."""
    packed = load_file(folder / FOLDER_NAME / "model.safetensors")
    assert packed.keys() == checkpoint.keys()
    return sum(not torch.equal(packed[name], checkpoint[name]) for name in packed)


def test_the_last_weights_of_a_training_that_was_never_evaluated_before(tiny_config: Path) -> None:
    output = train(tiny_config)
    assert differing(output, safe_load_checkpoint(str(output / "model_final.pth"))["model"]) == 0
    card = (output / FOLDER_NAME / "README.md").read_text()
    assert "| trained on | tiny_train, 2 images |" in card
    assert "| weights | model_final.pth, after 2 iterations |" in card
    assert "On tiny_val, in percent:" in card  # the evaluation at the end is of these weights


def test_the_last_weights_are_the_best(tiny_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([10.0, 50.0])

    def judged(cfg: Any, model: Any, evaluators: Any = None) -> Any:
        return {"panoptic_seg": {"PQ": next(values)}}

    monkeypatch.setattr(Trainer, "test", staticmethod(judged))
    output = train(tiny_config, "TEST.EVAL_PERIOD", "1")
    assert safe_load_checkpoint(str(output / "model_best.pth"))["iteration"] == 1
    card = (output / FOLDER_NAME / "README.md").read_text()
    assert "model_best.pth, after 2 iterations, the best by panoptic_seg/PQ |" in card


def test_the_best_weights_averaged(tiny_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([1.0, 50.0, 1.0, 10.0])  # of the weights and of their average

    def judged(cfg: Any, model: Any, evaluators: Any = None) -> Any:
        return {"panoptic_seg": {"PQ": next(values)}}

    monkeypatch.setattr(Trainer, "test", staticmethod(judged))
    words = ["TEST.EVAL_PERIOD", "1", "SOLVER.EMA.ENABLED", "True", "SOLVER.EMA.DECAY", "0.5"]
    output = train(tiny_config, *words)
    best = safe_load_checkpoint(str(output / "model_best.pth"))
    assert best["iteration"] == 0 and differing(output, best["ema"]["model"]) == 0
    assert differing(output, safe_load_checkpoint(str(output / "model_final.pth"))["model"]) > 0
    card = (output / FOLDER_NAME / "README.md").read_text()
    assert "model_best.pth, after 1 iterations, the best by ema/panoptic_seg/PQ |" in card
    assert "| all | 50.0 | - | - |" in card


def test_a_best_checkpoint_of_an_earlier_run_is_not_of_this_one(tiny_config: Path) -> None:
    output = Path(load_config(str(tiny_config)).OUTPUT_DIR)
    output.mkdir()
    (output / "model_best.pth").write_text("of another run")
    train(tiny_config)
    assert differing(output, safe_load_checkpoint(str(output / "model_final.pth"))["model"]) == 0


def test_a_folder_that_cannot_be_written_is_told(
    tiny_config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The training is done: it must not end as failed."""
    folder = Path(load_config(str(tiny_config)).OUTPUT_DIR) / FOLDER_NAME
    folder.mkdir(parents=True)
    (folder / "mine.txt").touch()
    train(tiny_config)
    told = [r.getMessage() for r in caplog.records if r.name == "effps_solo.engine.model_folder"]
    assert len(told) == 1 and "No model folder: " in told[0] and "mine.txt" in told[0]
    assert (folder / "mine.txt").exists()


def test_no_folder_of_a_training_that_failed(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Trainer) -> None:
        if self.iter == self.max_iter - 1:
            raise RuntimeError("broken")

    monkeypatch.setattr(Trainer, "run_step", fail)
    with pytest.raises(RuntimeError, match="broken"):
        train(tiny_config)
    assert not list(Path(load_config(str(tiny_config)).OUTPUT_DIR).glob(FOLDER_NAME))
