"""The best checkpoint: which evaluations write it, and what it leaves alone."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, List, Optional

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import nn

from effps_solo.checkpoint.checkpointer import CheckpointWriteError, EffPSCheckpointer
from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.engine.best import BestCheckpointer


def run(folder: Path, values: List[Optional[float]], start: int = 0) -> BestCheckpointer:
    """Evaluations after every second iteration; the weight counts the iterations."""
    model = nn.Linear(1, 1, bias=False)
    hook = BestCheckpointer(model, str(folder), metric="PQ", period=2)
    end = start + 2 * len(values)
    hook.trainer = SimpleNamespace(start_iter=start, iter=start, max_iter=end)  # type: ignore
    with EventStorage(start) as storage:
        hook.before_train()
        for i in range(start, end):
            hook.trainer.iter = storage.iter = i
            model.weight.data.fill_(i)
            value = values[(i - start) // 2]
            if i % 2 and i != end - 1 and value is not None:
                storage.put_scalar("PQ", value)
            hook.after_step()
        hook.trainer.iter = storage.iter = end
        if values[-1] is not None:
            storage.put_scalar("PQ", values[-1])
        hook.after_train()
    return hook


def content(folder: Path) -> Any:
    return torch.load(folder / "model_best.pth", weights_only=True)


@pytest.mark.parametrize(
    "values, best, weight",
    [
        ([3.0, 5.0, 4.0], 5.0, 3.0),
        ([3.0, 5.0, 6.0], 6.0, 5.0),
        ([5.0, 5.0, 5.0], 5.0, 1.0),  # the first of equals
        ([math.nan, 1.0, math.nan], 1.0, 3.0),
        ([None, 2.0, None], 2.0, 3.0),
    ],
)
def test_the_best_evaluation_is_kept(
    tmp_path: Path, values: List[Optional[float]], best: float, weight: float
) -> None:
    run(tmp_path, values)
    assert content(tmp_path)["value"] == best and content(tmp_path)["metric"] == "PQ"
    assert content(tmp_path)["model"]["weight"].item() == weight


def test_no_number_no_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(tmp_path, [math.nan, None])
    assert not (tmp_path / "model_best.pth").exists()
    assert "No finite PQ" in caplog.text


def test_a_metric_of_several_test_sets_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hook = BestCheckpointer(nn.Linear(1, 1), str(tmp_path), metric="panoptic_seg/PQ", period=1)
    hook.trainer = SimpleNamespace(start_iter=0, iter=0, max_iter=9)  # type: ignore
    with EventStorage(0) as storage:
        for name in ("day/panoptic_seg/PQ", "night/panoptic_seg/PQ", "night/panoptic_seg/SQ"):
            storage.put_scalar(name, 1.0)
        hook.after_step()
    names = "['day/panoptic_seg/PQ', 'night/panoptic_seg/PQ']"
    assert f"no panoptic_seg/PQ; TEST.BEST_METRIC can be one of {names}" in caplog.text


def test_a_resumed_run_knows_the_best_of_the_run_before(tmp_path: Path) -> None:
    run(tmp_path, [5.0, 1.0])
    run(tmp_path, [4.0, 3.0], start=4)
    assert content(tmp_path)["value"] == 5.0
    run(tmp_path, [4.0, 7.0], start=8)
    assert content(tmp_path)["value"] == 7.0
    run(tmp_path, [2.0, 1.0])  # a new run
    assert content(tmp_path)["value"] == 2.0


def test_a_damaged_file_of_a_run_before_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "model_best.pth").write_bytes(b"no checkpoint")
    run(tmp_path, [4.0], start=2)
    assert content(tmp_path)["value"] == 4.0


def test_it_is_not_the_one_to_resume_from(tmp_path: Path) -> None:
    EffPSCheckpointer(nn.Linear(1, 1), str(tmp_path)).save("model_0000001")
    run(tmp_path, [4.0])
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"


def test_a_full_disk_does_not_end_the_run(tmp_path: Path, monkeypatch: Any) -> None:
    def full(*args: Any, **kwargs: Any) -> None:
        raise CheckpointWriteError("no space left")

    monkeypatch.setattr(EffPSCheckpointer, "save", full)
    assert run(tmp_path, [4.0, 5.0]).best is None


def test_the_trainer_has_it_where_it_evaluates_during_training(tiny_config: Path) -> None:
    def metrics(*words: str) -> List[str]:
        trainer = Trainer(load_config(str(tiny_config), list(words)))
        return [hook.metric for hook in trainer._hooks if isinstance(hook, BestCheckpointer)]

    period = ("TEST.EVAL_PERIOD", "5")
    assert metrics() == []
    assert metrics(*period) == ["panoptic_seg/PQ"]
    assert metrics(*period, "SOLVER.EMA.ENABLED", "True") == ["ema/panoptic_seg/PQ"]
    assert metrics(*period, "TEST.BEST_METRIC", "") == []
