"""Averaged weights: the average itself, its way through checkpoints, and what evaluates it."""

import json
from pathlib import Path
from typing import Any, List

import pytest
import torch
from torch import nn

from effps_solo.checkpoint.checkpointer import EffPSCheckpointer
from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.engine.ema import ModelEMA
from effps_solo.inference.predictor import Predictor
from effps_solo.inference.preparation import fold_norms

ON = ["SOLVER.EMA.ENABLED", "True", "DATALOADER.NUM_WORKERS", "0", "SEED", "1"]


class OneWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def set(self, value: float) -> None:
        self.weight.data.fill_(value)
        self.mean.fill_(2 * value)
        self.count.fill_(int(value))


def test_the_average_worked_by_hand() -> None:
    model = OneWeight()
    ema = ModelEMA(model, decay=0.25)
    # Shares of the old average: nothing, 2/11, then 0.25 = min(0.25, 3/12), 0.25 = min(0.25, 4/13).
    expected = 8.0
    for step, value in enumerate([8.0, 19.0, 1.0, 5.0]):
        keep = [0.0, 2 / 11, 0.25, 0.25][step]
        expected = keep * expected + (1 - keep) * value
        model.set(value)
        ema.update(model)
        assert ema.model.weight.item() == pytest.approx(expected)
        assert ema.model.mean.item() == pytest.approx(2 * expected)
        assert ema.model.count.item() == int(value)
    assert model.weight.item() == 5.0 and model.weight.requires_grad
    assert not ema.model.weight.requires_grad


def test_the_average_of_a_network_against_the_formula_and_from_a_checkpoint() -> None:
    """Of every entry of its state; on the way the average passes through a checkpoint's content."""

    def make() -> nn.Module:
        norms = nn.BatchNorm2d(4), nn.GroupNorm(2, 4, dtype=torch.float64)
        return nn.Sequential(nn.Conv2d(3, 4, 3), *norms, nn.Conv2d(4, 2, 1, dtype=torch.bfloat16))

    torch.manual_seed(0)
    model, decay = make(), 0.4
    ema = ModelEMA(model, decay)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    for step in range(8):
        for value in model.state_dict().values():
            value.copy_(torch.randn(value.shape) * 10)
        keep = min(decay, (1 + step) / (10 + step)) if step else 0.0
        for name, value in model.state_dict().items():
            is_count = name.endswith("num_batches_tracked")
            expected[name] = value.clone() if is_count else expected[name].lerp(value, 1 - keep)
        ema.update(model)
        state = ema.state_dict()
        assert state.keys() == {"model", "num_updates"} and state["num_updates"] == step + 1
        assert list(state["model"]) == list(expected)
        assert all(torch.equal(state["model"][name], value) for name, value in expected.items())
        if step == 3:
            ema = ModelEMA(make(), decay)
            ema.load_state_dict({"model": expected, "num_updates": 4})


def trained(tiny_config: Path, iterations: int, resume: bool = False) -> Trainer:
    words = [*ON, "SOLVER.MAX_ITER", str(iterations), "SOLVER.CHECKPOINT_PERIOD", "2"]
    # A constant rate: a longer run begins like a shorter one.
    words += ["SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.WARMUP_ITERS", "0"]
    torch.manual_seed(0)
    trainer = Trainer(load_config(str(tiny_config), words))
    trainer.evaluate = lambda: None
    trainer.resume_or_load(resume=resume)
    trainer._hooks = [h for h in trainer._hooks if type(h).__name__ not in ("EvalHook",)]
    trainer.train()
    return trainer


def weights(model: nn.Module) -> List[torch.Tensor]:
    return list(model.state_dict().values())


def equal(first: List[torch.Tensor], second: List[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second))


def test_it_survives_a_resumed_run_to_the_bit(tiny_config: Path, tmp_path: Path) -> None:
    whole = trained(tiny_config, 4)
    output = tmp_path / "output"
    for name in ("model_final.pth", "model_0000003.pth"):
        (output / name).unlink()
    (output / "last_checkpoint").write_text("model_0000001.pth")
    resumed = trained(tiny_config, 4, resume=True)
    assert resumed.start_iter == 2
    assert whole.ema is not None and resumed.ema is not None
    assert resumed.ema.num_updates == whole.ema.num_updates == 4
    assert equal(weights(resumed.model), weights(whole.model))
    assert equal(weights(resumed.ema.model), weights(whole.ema.model))
    assert not equal(weights(whole.ema.model), weights(whole.model))


def test_checkpoints_hold_it_as_plain_tensors_and_inference_takes_it(
    tiny_config: Path, tmp_path: Path
) -> None:
    trainer = trained(tiny_config, 2)
    path = str(tmp_path / "output" / "model_final.pth")
    content = torch.load(path, weights_only=True)
    assert content["ema"]["num_updates"] == 2
    assert trainer.ema is not None
    cfg = load_config(str(tiny_config), ["MODEL.WEIGHTS", path])
    for model, use_ema in ((trainer.model, False), (trainer.ema.model, True)):
        cfg.TEST.USE_EMA = use_ema
        fold_norms(model)
        assert equal(weights(Predictor(cfg).model), weights(model))


def test_a_training_starts_from_the_weights_themselves(tiny_config: Path, tmp_path: Path) -> None:
    trainer = trained(tiny_config, 2)
    path = str(tmp_path / "output" / "model_final.pth")
    start = Trainer(load_config(str(tiny_config), [*ON, "MODEL.WEIGHTS", path]))
    start.resume_or_load(resume=False)
    assert equal(weights(start.model), weights(trainer.model))
    assert start.ema is not None and start.ema.num_updates == 0


def test_a_checkpoint_without_an_average_gives_its_weights(tmp_path: Path) -> None:
    model = OneWeight()
    model.set(3.0)
    EffPSCheckpointer(model, str(tmp_path)).save("plain")
    other = OneWeight()
    EffPSCheckpointer(other, use_ema=True).load(str(tmp_path / "plain.pth"))
    assert other.weight.item() == 3.0


def test_both_models_are_evaluated_apart(tiny_config: Path, monkeypatch: Any) -> None:
    trainer = Trainer(load_config(str(tiny_config), ON))
    seen: List[nn.Module] = []

    def test(cfg: Any, model: nn.Module, evaluators: Any = None) -> Any:
        seen.append(model)
        return {"panoptic_seg": {"PQ": float(len(seen))}}

    monkeypatch.setattr(trainer, "test", test)
    results = trainer.evaluate()
    assert trainer.ema is not None and seen == [trainer.model, trainer.ema.model]
    assert results.pop("validation")["total_loss"] > 0
    assert results == {"panoptic_seg": {"PQ": 1.0}, "ema": {"panoptic_seg": {"PQ": 2.0}}}


def test_without_the_key_there_is_none(tiny_config: Path) -> None:
    trainer = Trainer(load_config(str(tiny_config)))
    assert trainer.ema is None and "ema" not in trainer.checkpointer.checkpointables


def test_a_whole_run_with_an_average_and_a_best_checkpoint(
    tiny_config: Path, tmp_path: Path
) -> None:
    words = [*ON, "TEST.EVAL_PERIOD", "1", "MODEL.OUTPUTS", "['panoptic_seg']"]
    Trainer(load_config(str(tiny_config), words)).train()
    lines = (tmp_path / "output" / "metrics.json").read_text().splitlines()
    last = json.loads(lines[-1])
    assert {"panoptic_seg/PQ", "ema/panoptic_seg/PQ"} <= set(last)
    best = torch.load(tmp_path / "output" / "model_best.pth", weights_only=True)
    assert best["metric"] == "ema/panoptic_seg/PQ" and best["value"] >= last["ema/panoptic_seg/PQ"]
    assert {"model", "ema"} <= set(best) and "trainer" not in best
