"""Stopped trainings: a step is finished, there is a checkpoint, and the next run goes on from it."""

import signal
from pathlib import Path
from typing import Any, List

import pytest
import torch
from detectron2.engine import HookBase

from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.engine.signals import TrainingStopped
from effps_solo.engine.stopping import Interruptible

WORDS = ["SEED", "3", "SOLVER.MAX_ITER", "4", "TEST.EVAL_PERIOD", "0", "SOLVER.EMA.ENABLED", "True"]
NO_TEST = ["DATASETS.TEST", "()"]


class SignalIn(HookBase):
    """As if SIGTERM came in an iteration; the last one: after the training."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def before_step(self) -> None:
        if self.trainer.iter == self.iteration:
            self.trainer.stop_signals.received = signal.SIGTERM


def trainer(config: Path, *words: str) -> Trainer:
    torch.manual_seed(0)  # of the first weights
    made = Trainer(load_config(str(config), [*WORDS, *words]))
    made.resume_or_load(resume=True)
    return made


def stop(made: Trainer) -> None:
    with pytest.raises(TrainingStopped) as end:
        made.train()
    assert end.value.code == 143


def content(folder: Path, name: str) -> Any:
    return torch.load(folder / name, weights_only=True)


@pytest.mark.parametrize("period", ["1000", "2"])
def test_a_stopped_training_goes_on_to_the_bit(
    tiny_config: Path, tmp_path: Path, period: str
) -> None:
    """Whether or not there would have been a checkpoint anyway."""
    words = [*NO_TEST, "SOLVER.CHECKPOINT_PERIOD", period]
    trainer(tiny_config, *words, "OUTPUT_DIR", str(tmp_path / "whole")).train()
    made = trainer(tiny_config, *words)
    made.register_hooks([SignalIn(1)])
    stop(made)
    folder = tmp_path / "output"
    assert (folder / "last_checkpoint").read_text() == "model_0000001.pth"
    assert content(folder, "model_0000001.pth")["iteration"] == 1
    assert not (folder / "model_final.pth").exists()
    trainer(tiny_config, *words).train()
    final, whole = (content(x, "model_final.pth") for x in (folder, tmp_path / "whole"))
    assert all(torch.equal(final["model"][k], whole["model"][k]) for k in whole["model"])
    assert all(torch.equal(final["ema"]["model"][k], v) for k, v in whole["ema"]["model"].items())


class SignalAtImage(Interruptible):
    """As if SIGTERM came while the first image is evaluated."""

    images: List[Any] = []

    def process(self, inputs: Any, outputs: Any) -> None:
        self.images.append(inputs[0]["image_id"])
        self.signals.received = signal.SIGTERM
        super().process(inputs, outputs)


@pytest.mark.parametrize("period, last", [("2", "model_0000001.pth"), ("0", "model_final.pth")])
def test_an_evaluation_ends_with_the_image(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, period: str, last: str
) -> None:
    """In the middle of the training, and behind it, where nothing is left to save."""
    monkeypatch.setattr("effps_solo.engine.trainer.Interruptible", SignalAtImage)
    monkeypatch.setattr(SignalAtImage, "images", [])
    stop(trainer(tiny_config, "TEST.EVAL_PERIOD", period))
    assert SignalAtImage.images == [0]
    assert (tmp_path / "output" / "last_checkpoint").read_text() == last
    assert (tmp_path / "output" / "metrics.json").read_text()  # what was known is written
