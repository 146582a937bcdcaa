"""The lines before the first step: what they count, and that the trial of a step leaves no trace."""

import re
from pathlib import Path
from typing import Any, List

import pytest
import torch
from detectron2.data import DatasetCatalog

from effps_solo.config import load_config
from effps_solo.engine import Trainer, announce
from effps_solo.engine.announcement import seconds_per_step

WORDS = ["SEED", "3", "SOLVER.MAX_ITER", "3", "DATASETS.TEST", "()"]


def lines_of(caplog: pytest.LogCaptureFixture, config: Path, *words: str) -> List[str]:
    trainer = Trainer(load_config(str(config), list(words)))
    trainer.resume_or_load(resume=True)
    caplog.clear()
    with caplog.at_level("INFO", "effps_solo"):
        announce(trainer)
    return [r.getMessage() for r in caplog.records if r.name == "effps_solo.engine.announcement"]


def test_the_tiny_set_by_hand(tiny_config: Path, tmp_path: Path, caplog: Any) -> None:
    """Two images: two cars; a person and a car; road and sky in both. One batch is the whole set."""
    lines = lines_of(caplog, tiny_config, "SOLVER.MAX_ITER", "5", "TEST.EVAL_PERIOD", "2")
    data = "2 images 96x64; 4 objects (car 3, person 1); images with stuff: road 2, sky 2"
    assert lines[0] == f"train: tiny_train, {data}" and lines[1] == f"test: tiny_val, {data}"
    assert lines[2].startswith("evaluation: every 2 iterations and at the end, on all images")
    assert len(lines) <= 10 and all(len(line) < 160 for line in lines)
    text = "\n".join(lines)
    assert "weights: random ones (MODEL.WEIGHTS is empty)" in text
    assert "steps: 5 of 2 images, 5.0 times the training set" in text
    assert f"output: {tmp_path}/output" in text
    assert re.fullmatch(r"expected time: about \d:\d\d:\d\d \(\S+ s a step\), .*", lines[-1])


def test_a_set_without_annotations_and_no_test(
    tiny_config: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = DatasetCatalog.get
    monkeypatch.setattr(
        DatasetCatalog, "get", lambda name: [{**r, "segments_info": []} for r in get(name)]
    )
    lines = lines_of(caplog, tiny_config, "DATASETS.TEST", "()")
    assert "2 images 96x64; 0 objects (person 0, car 0); images with stuff: road 0" in lines[0]
    assert lines[1] == "evaluation: none, DATASETS.TEST is empty"


def test_a_resumed_and_a_finished_training(tiny_config: Path, caplog: Any) -> None:
    words = [*WORDS, "SOLVER.CHECKPOINT_PERIOD", "2"]
    Trainer(load_config(str(tiny_config), words)).train()
    text = "\n".join(lines_of(caplog, tiny_config, *words))
    assert "steps: 0 of" in text and "all steps are done" in text
    text = "\n".join(lines_of(caplog, tiny_config, *words, "SOLVER.MAX_ITER", "8"))
    assert "model_final.pth; goes on after iteration 3 of 8" in text and "steps: 5 of" in text


@pytest.mark.parametrize("more", [[], ["SOLVER.ACCUMULATION_STEPS", "2"]])
def test_the_trial_changes_nothing(tiny_config: Path, tmp_path: Path, more: List[str]) -> None:
    models = []
    for num_trials in (0, 3):
        torch.manual_seed(0)
        folder = ["OUTPUT_DIR", str(tmp_path / str(num_trials))]
        trainer = Trainer(load_config(str(tiny_config), [*WORDS, *more, *folder]))
        numbers = torch.get_rng_state()
        for _ in range(num_trials):
            assert seconds_per_step(trainer._trainer, 1000) > 0
        assert torch.equal(torch.get_rng_state(), numbers)
        trainer.train()
        models.append(trainer.model.state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_a_batch_that_cannot_be_loaded(tiny_config: Path, tiny_set: Path) -> None:
    for path in (tiny_set / "train").iterdir():
        path.write_bytes(b"no image")
    trainer = Trainer(load_config(str(tiny_config), WORDS))
    assert seconds_per_step(trainer._trainer, 10) is None
