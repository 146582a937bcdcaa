"""When a training that gains nothing ends, and that a resumed one counts like one that ran through."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict, List, Optional

import pytest
from detectron2.utils.events import EventStorage

from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.engine.early_stopping import EarlyStopping, StoppedEarly
from effps_solo.utils.errors import ConfigError

METRIC = "panoptic_seg/PQ"
Values = List[Optional[float]]


def run(folder: Path, values: Values, start: int = 0, patience: int = 2) -> Optional[int]:
    """Evaluations after every second iteration; the iteration in which it ends, None: it does not."""
    hook = EarlyStopping(str(folder), metric=METRIC, period=2, patience=patience)
    saved: List[int] = []
    save = lambda name, iteration: saved.append(iteration)  # noqa: E731
    if hook.is_due_before(start):
        return start
    with EventStorage(start) as storage:
        end = start + 2 * len(values) + 2
        hook.trainer = SimpleNamespace(  # type: ignore
            storage=storage, max_iter=end, checkpointer=SimpleNamespace(save=save)
        )
        for i in range(start, end):
            hook.trainer.iter = storage.iter = i
            if i % 2 and i < end - 1 and values[(i - start) // 2] is not None:
                storage.put_scalar(METRIC, values[(i - start) // 2])
            try:
                hook.after_step()
            except StoppedEarly:
                assert saved == [i]
                return i
    assert not saved
    return None


@pytest.mark.parametrize(
    "values, end",
    [
        ([5.0, 4.0, 3.0, 9.0], 5),  # two evaluations behind the best
        ([5.0, 5.0, 5.0], 5),  # equal is not better
        ([1.0, 2.0, 1.0, 3.0, 2.0], None),
        ([1.0, 2.0, 1.0, 3.0, 2.0, 1.0], 11),
        ([3.0, math.nan, None], 5),  # no number is no gain
        ([math.nan, None, math.nan], None),  # and a metric that there never was ends nothing
        ([], None),
    ],
)
def test_by_hand(tmp_path: Path, values: Values, end: Optional[int]) -> None:
    assert run(tmp_path, values) == end


def write(folder: Path, lines: List[Dict[str, Any]]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.json").write_text(text + '{"iteration": 7, "pano')  # killed within a line


def test_a_resumed_training_goes_on_counting(tmp_path: Path) -> None:
    """5 and 4 before the kill; what came behind the checkpoint is done again and does not count."""
    write(tmp_path, [{"iteration": 1, METRIC: 5.0}, {"iteration": 3, METRIC: 4.0, "lr": 1.0}])
    assert run(tmp_path, [4.5, 9.0], start=4) == 5
    write(tmp_path, [{"iteration": 1, METRIC: 5.0}, {"iteration": 5, METRIC: 9.0}])
    assert run(tmp_path, [4.5, 4.0], start=4) == 7
    write(tmp_path, [{"iteration": i, METRIC: 5.0 - i} for i in (1, 3, 5)])
    assert run(tmp_path, [9.0], start=6) == 6  # it had ended
    assert run(tmp_path, [9.0], start=0) is None  # a new run


def test_a_training_that_ends_early_is_a_finished_one(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    words = ["TEST.EVAL_PERIOD", "1", "SOLVER.EARLY_STOPPING_PATIENCE", "2", "SOLVER.MAX_ITER", "9"]
    calls: List[int] = []

    def evaluate(trainer: Trainer) -> Dict[str, Any]:
        calls.append(trainer.iter)
        return {"panoptic_seg": {"PQ": 7.0}}

    monkeypatch.setattr(Trainer, "evaluate", evaluate)
    for _ in range(2):  # the second one has nothing left to do
        trainer = Trainer(load_config(str(tiny_config), words))
        trainer.resume_or_load(resume=True)
        with caplog.at_level("INFO", "effps_solo"):
            trainer.train()
        assert calls == [0, 1, 2]
        assert "PQ was 7.00 after iteration 0, and no better in the 2 evaluations" in caplog.text
        caplog.clear()
    assert (tmp_path / "output" / "last_checkpoint").read_text() == "model_final.pth"
    assert (tmp_path / "output" / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize("key, value", [("TEST.EVAL_PERIOD", "0"), ("TEST.BEST_METRIC", "''"),
                                        ("DATASETS.TEST", "()")])  # fmt: skip
def test_without_anything_to_follow_it_is_refused(tiny_config: Path, key: str, value: str) -> None:
    words = ["TEST.EVAL_PERIOD", "5", "SOLVER.EARLY_STOPPING_PATIENCE", "2", key, value]
    with pytest.raises(ConfigError, match="EARLY_STOPPING_PATIENCE is 2, but .* needs all of them"):
        Trainer(load_config(str(tiny_config), words))
