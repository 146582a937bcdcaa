"""``--resume`` with another config: what is taken over from it, and what is refused."""

from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
import torch
from torch import nn

from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.engine.resume import with_own_settings
from effps_solo.utils.errors import CheckpointError

Optimizer = torch.optim.Optimizer


def stepped(optimizer: Optimizer) -> Optimizer:
    """With moments."""
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


def sgd(*shapes: int, lr: float = 0.1, **settings: Any) -> Optimizer:
    parameters = [nn.Parameter(torch.zeros(n)) for n in shapes]
    return stepped(torch.optim.SGD(parameters, lr=lr, momentum=0.9, **settings))


def adamw(*shapes: int, lr: float = 0.1) -> Optimizer:
    return stepped(torch.optim.AdamW([nn.Parameter(torch.zeros(n)) for n in shapes], lr=lr))


def test_the_moments_are_saved_ones_and_the_settings_are_new(caplog: Any) -> None:
    saved = sgd(2, 3, weight_decay=0.01).state_dict()
    optimizer = sgd(2, 3, lr=0.5, weight_decay=0.0)
    for state in saved["state"].values():
        state["momentum_buffer"] += 7
    optimizer.load_state_dict(with_own_settings(optimizer, saved))
    assert [group["lr"] for group in optimizer.param_groups] == [0.5]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0]
    buffers = [state["momentum_buffer"] for state in optimizer.state.values()]
    assert [len(b) for b in buffers] == [2, 3] and all((b == 8).all() for b in buffers)
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "--resume goes on with what the config says now: SOLVER.BASE_LR 0.5, not 0.1",
        "--resume goes on with what the config says now: SOLVER.WEIGHT_DECAY 0, not 0.01",
    ]


@pytest.mark.parametrize("make", [sgd, adamw])
def test_the_same_config(make: Callable[..., Optimizer], caplog: Any) -> None:
    saved = make(2).state_dict()
    assert with_own_settings(make(2), saved) == saved and not caplog.records
    empty: Dict[str, Any] = {**saved, "state": {}}  # before the first step
    assert with_own_settings(make(2), empty) == empty


@pytest.mark.parametrize(
    ("now", "before", "message"),
    [
        (adamw(2), sgd(2), "trained with SGD, and SOLVER.OPTIMIZER is AdamW; set it back to SGD"),
        (sgd(2), adamw(2), "trained with AdamW, and SOLVER.OPTIMIZER is SGD; set it back to AdamW"),
        (
            sgd(2),
            sgd(2, 2),
            "trained other parameters.*FREEZE_AT.*; set them back, or take --resume",
        ),
        (adamw(2, 3), adamw(3, 2), "trained other parameters"),  # torch itself would crash
    ],
)
def test_what_cannot_go_on(now: Optimizer, before: Optimizer, message: str) -> None:
    with pytest.raises(CheckpointError, match=f"--resume: the checkpoint .*{message}"):
        with_own_settings(now, before.state_dict())


@pytest.fixture
def resume(tiny_config: Path, fresh_loggers: None) -> Callable[..., Trainer]:
    """``resume(KEY, VALUE ...)``: the trainer of a run of two steps that goes on with these."""
    first = Trainer(load_config(str(tiny_config), ["SOLVER.BASE_LR", "0.01"]))
    first.resume_or_load(resume=False)
    first.train()

    def make(*words: str) -> Trainer:
        trainer = Trainer(load_config(str(tiny_config), ["SOLVER.MAX_ITER", "4", *words]))
        trainer.resume_or_load(resume=True)
        return trainer

    return make


def test_another_learning_rate(resume: Callable[..., Trainer]) -> None:
    trainer = resume("SOLVER.BASE_LR", "0.5", "SOLVER.LR_SCHEDULER_NAME", "WarmupPolyLR")
    assert trainer.start_iter == 2
    assert trainer.scheduler.base_lrs[0] == 0.5
    expected = 0.5 * (1 - 2 / 4) ** 0.9
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(expected)
    trainer.train()
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.0)


def test_another_optimizer(resume: Callable[..., Trainer]) -> None:
    with pytest.raises(CheckpointError, match="trained with AdamW, and SOLVER.OPTIMIZER is SGD"):
        resume("SOLVER.OPTIMIZER", "SGD")


def test_another_network(resume: Callable[..., Trainer]) -> None:
    with pytest.raises(
        CheckpointError, match="another network.*; take --resume away and set MODEL.WEIGHTS to it"
    ):
        resume("MODEL.SOLOV2.CHANNELS", "64")


def test_other_classes(
    resume: Callable[..., Trainer], other_classes: Callable[..., List[str]]
) -> None:
    """More of them, which ended in a corrupted heap, and another order, which nobody noticed."""
    more = ((21, "road", 0), (7, "person", 1), (90, "sky", 0), (3, "car", 1), (4, "bus", 1))
    for categories, names in (
        (more, "person, car, bus; stuff road, sky"),
        (more[3::-1], "car, person; stuff sky, road"),
    ):
        with pytest.raises(
            CheckpointError,
            match=rf"model_final.pth' was trained for other classes: the checkpoint has 4 .*, the data "
            rf"\d classes \(things {names}\); take --resume away and set MODEL.WEIGHTS to it",
        ):
            resume(*other_classes(*categories))
