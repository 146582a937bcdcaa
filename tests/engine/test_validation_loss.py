"""The losses of validation: their mean by hand, and that the training does not notice them."""

import json
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from detectron2.data import DatasetCatalog

from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.engine.validation_loss import ValidationLoss
from effps_solo.evaluation.oracle import OracleMapper
from effps_solo.modeling.precision import Precision

FP32 = Precision(device_type="cpu")


def losses(config: Path, weights: Path, *words: str) -> Dict[str, float]:
    cfg = load_config(str(config), ["MODEL.WEIGHTS", str(weights), *words])
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    numbers = torch.get_rng_state()
    calls: List[bool] = []
    means = ValidationLoss(cfg, FP32)(trainer.model, calls.append)
    assert calls[-1:] == [True] and not any(calls[:-1])
    assert torch.equal(torch.get_rng_state(), numbers) and trainer.model.training
    assert all(torch.equal(v, before[name]) for name, v in trainer.model.state_dict().items())
    return means


def test_the_mean_over_images_by_hand(tiny_config: Path, lively_weights: Path) -> None:
    """Each image alone, with the mapper of the oracle, whose frame is that of inference."""
    cfg = load_config(str(tiny_config), ["MODEL.WEIGHTS", str(lively_weights)])
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    model, mapper = trainer.model.eval(), OracleMapper(cfg, True)
    with torch.no_grad():
        batches = [[mapper(record)] for record in DatasetCatalog.get("tiny_val")]
        single = [model.losses(batch, whole_images=True) for batch in batches]
    expected = {name: float(single[0][name] + single[1][name]) / 2 for name in single[0]}
    assert single[0]["loss_mask"] != single[1]["loss_mask"]
    found = losses(tiny_config, lively_weights)
    assert found.pop("total_loss") == pytest.approx(sum(expected.values()))
    assert found == pytest.approx(expected)
    first = losses(tiny_config, lively_weights, "TEST.VALIDATION_LOSS_IMAGES", "1")
    assert first["loss_mask"] == pytest.approx(float(single[0]["loss_mask"]))


def test_images_that_cannot_be_read_are_left_out(
    tiny_config: Path, tiny_set: Path, lively_weights: Path, caplog: Any
) -> None:
    (tiny_set / "panoptic_val" / "0.png").write_bytes(b"no PNG")
    assert losses(tiny_config, lively_weights)["loss_mask"] > 0
    assert "Left out of the validation losses" in caplog.text and "0.png" in caplog.text


@pytest.mark.parametrize("words", [("TEST.VALIDATION_LOSS_IMAGES", "0"), ("DATASETS.TEST", "()")])
def test_none(tiny_config: Path, lively_weights: Path, words: Any) -> None:
    assert losses(tiny_config, lively_weights, *words) == {}


def test_a_training_with_them_is_the_same(tiny_config: Path, tmp_path: Path) -> None:
    models = []
    for images in ("0", "2"):
        torch.manual_seed(0)
        words = ["SEED", "3", "TEST.EVAL_PERIOD", "1", "SOLVER.MAX_ITER", "3"]
        words += ["TEST.VALIDATION_LOSS_IMAGES", images, "INPUT.RANDOM_FLIP", "horizontal"]
        trainer = Trainer(
            load_config(str(tiny_config), [*words, "OUTPUT_DIR", str(tmp_path / images)])
        )
        trainer.train()
        models.append(trainer.model.state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    lines = [json.loads(x) for x in (tmp_path / "2" / "metrics.json").read_text().splitlines()]
    seen = {line["iteration"]: line["validation/total_loss"] for line in lines
            if "validation/total_loss" in line}  # fmt: skip
    assert sorted(seen) == [0, 1, 3] and len(set(seen.values())) == 3
