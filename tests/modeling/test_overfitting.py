"""One network, trained as one: gradients reach everything; two images are learned by heart."""

from pathlib import Path
from typing import Any, Dict, List, Set

import pytest
import torch
from torch import nn

from effps_solo.config import load_config
from effps_solo.engine import Trainer

PARTS = {"backbone.bottom_up", "backbone.fpn", "sem_seg_head", "instance_head"}


def make(tiny_config: Path) -> Any:
    """The model in training mode and a batch of both images."""
    torch.manual_seed(0)
    cfg = load_config(str(tiny_config), ["DATALOADER.NUM_WORKERS", "0"])
    batch = next(iter(Trainer.build_train_loader(cfg)))
    assert sum(len(x["instances"]) for x in batch) >= 2
    return Trainer.build_model(cfg).train(), batch


def part_of(name: str) -> str:
    if name.startswith("backbone.bottom_up."):
        return "backbone.bottom_up"
    top = name.split(".")[0]
    return "backbone.fpn" if top == "backbone" else top


def reached(model: nn.Module) -> Set[str]:
    """Parts with a gradient that is not zero."""
    return {
        part_of(name)
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
    }


def test_every_parameter_gets_a_finite_gradient_that_is_not_zero(tiny_config: Path) -> None:
    model, batch = make(tiny_config)
    losses: Dict[str, torch.Tensor] = model(batch)
    assert set(losses) == {"loss_sem_seg", "loss_category", "loss_mask"}
    sum(losses.values()).backward()
    bad: List[str] = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None
        or not torch.isfinite(parameter.grad).all()
        or not parameter.grad.abs().sum() > 0
    ]
    assert bad == []
    assert reached(model) == PARTS


@pytest.mark.parametrize(
    "names, missing",
    [
        (("loss_sem_seg",), "instance_head"),
        (("loss_category",), "sem_seg_head"),
        (("loss_mask",), "sem_seg_head"),
    ],
)
def test_each_loss_alone_reaches_the_backbone(tiny_config: Path, names: Any, missing: str) -> None:
    model, batch = make(tiny_config)
    losses = model(batch)
    sum(losses[name] for name in names).backward()
    assert reached(model) == PARTS - {missing}


def learn(train: Any, config: Path, overrides: Dict[str, Any]) -> Dict[str, float]:
    """Train without weight decay on few images; returns the panoptic scores at its end."""
    few = {"SOLVER.WARMUP_ITERS": 10, "SOLVER.BASE_LR": 0.002, "SOLVER.WEIGHT_DECAY": 0.0}
    words = [str(word) for pair in {**few, "SEED": 1, **overrides}.items() for word in pair]
    scores: Dict[str, float] = train("--config-file", str(config), *words)["panoptic_seg"]
    return scores


@pytest.mark.slow
def test_two_images_are_learned_by_heart(
    tiny_config: Path, train: Any, fresh_loggers: None
) -> None:
    weights = "imagenet://tf_efficientnet_lite0"
    scores = learn(train, tiny_config, {"MODEL.WEIGHTS": weights, "SOLVER.MAX_ITER": 240})
    assert scores["PQ"] >= 90 and scores["PQ_th"] >= 85, scores
