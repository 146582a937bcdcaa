"""Optimiser, clipping and the loop of the trainer."""

import json
from pathlib import Path
from typing import Any, Dict, List

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.utils import comm
from torch import nn

from effps_solo import add_effps_solo_config
from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.utils.errors import CheckpointError, ConfigError


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bottom_up = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4))
        self.neck = nn.Conv2d(4, 4, 1)


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.head = nn.Sequential(nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4))


@pytest.fixture
def cfg() -> CfgNode:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.SOLVER.BASE_LR = 0.1
    cfg.SOLVER.WEIGHT_DECAY = 0.01
    cfg.SOLVER.WEIGHT_DECAY_NORM = 0.0
    cfg.SOLVER.WEIGHT_DECAY_BIAS = 0.0
    return cfg


def settings(model: nn.Module, optimizer: torch.optim.Optimizer) -> Dict[str, Dict[str, Any]]:
    """Name of every parameter -> its group; a parameter in two groups fails."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: Dict[str, Dict[str, Any]] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert names[id(parameter)] not in found
            found[names[id(parameter)]] = group
    return found


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_no_decay_on_norms_and_biases(cfg: CfgNode, name: str) -> None:
    cfg.SOLVER.OPTIMIZER = name
    model = Network()
    groups = settings(model, Trainer.build_optimizer(cfg, model))
    assert set(groups) == {name for name, _ in model.named_parameters()}
    decayed = {name for name, group in groups.items() if group["weight_decay"] > 0}
    assert decayed == {"backbone.bottom_up.0.weight", "backbone.neck.weight", "head.0.weight"}
    assert all(groups[name]["weight_decay"] == 0.01 for name in decayed)


def test_factor_on_the_learning_rate_of_the_encoder_alone(cfg: CfgNode) -> None:
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.25
    model = Network()
    groups = settings(model, Trainer.build_optimizer(cfg, model))
    for name, group in groups.items():
        expected = 0.025 if name.startswith("backbone.bottom_up.") else 0.1
        assert group["lr"] == pytest.approx(expected), name


def test_types_and_their_arguments(cfg: CfgNode) -> None:
    cfg.SOLVER.MOMENTUM, cfg.SOLVER.NESTEROV = 0.7, True
    sgd = Trainer.build_optimizer(cfg, Network())
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.defaults["momentum"] == 0.7 and sgd.defaults["nesterov"]
    cfg.SOLVER.OPTIMIZER = "AdamW"
    assert isinstance(Trainer.build_optimizer(cfg, Network()), torch.optim.AdamW)
    cfg.SOLVER.OPTIMIZER = "Adam"
    with pytest.raises(ConfigError, match="SOLVER.OPTIMIZER is 'Adam'; choose SGD or AdamW"):
        Trainer.build_optimizer(cfg, Network())


@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_a_parameter_that_learns_later_than_others(cfg: CfgNode, name: str) -> None:
    """A head that sees its first example after the first step."""
    cfg.MODEL.DEVICE, cfg.SOLVER.OPTIMIZER = "cpu", name
    model = Network()
    optimizer = Trainer.build_optimizer(cfg, model)
    for learning in (model.backbone, model):
        before = [p.detach().clone() for p in learning.parameters()]
        for parameter in learning.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        assert not any(map(torch.equal, before, learning.parameters()))


def _norm_of_a_step(cfg: CfgNode, gradient: float) -> float:
    """L2 norm of the change of all parameters by one SGD step of rate 1 with equal gradients."""
    cfg.SOLVER.BASE_LR = 1.0
    cfg.SOLVER.MOMENTUM = 0.0
    cfg.SOLVER.WEIGHT_DECAY = 0.0
    model = Network()
    optimizer = Trainer.build_optimizer(cfg, model)
    before: List[torch.Tensor] = [p.detach().clone() for p in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    optimizer.step()
    change = [(b - p.detach()).flatten() for b, p in zip(before, model.parameters())]
    return float(torch.cat(change).norm())


def test_full_model_clips_the_norm_of_all_gradients_together(cfg: CfgNode) -> None:
    count = sum(p.numel() for p in Network().parameters())
    assert _norm_of_a_step(cfg, 3.0) == pytest.approx(3 * count**0.5)  # off by default
    clip = cfg.SOLVER.CLIP_GRADIENTS
    clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE = True, "full_model", 0.5
    assert _norm_of_a_step(cfg, 3.0) == pytest.approx(0.5, rel=1e-4)
    small = 0.1 / count**0.5
    assert _norm_of_a_step(cfg, small) == pytest.approx(0.1, rel=1e-4)  # smaller: as they are


def test_detectron2s_clipping_of_single_values_still_works(cfg: CfgNode) -> None:
    clip = cfg.SOLVER.CLIP_GRADIENTS
    clip.ENABLED, clip.CLIP_TYPE, clip.CLIP_VALUE = True, "value", 0.5
    count = sum(p.numel() for p in Network().parameters())
    assert _norm_of_a_step(cfg, 3.0) == pytest.approx(0.5 * count**0.5)


def test_one_optimizer_holds_every_parameter_of_the_model(tiny_config: Path) -> None:
    cfg = load_config(str(tiny_config))
    model = Trainer.build_model(cfg)
    groups = settings(model, Trainer.build_optimizer(cfg, model))
    assert set(groups) == {name for name, _ in model.named_parameters()}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_step_changes_every_part(tiny_config: Path) -> None:
    trainer = Trainer(load_config(str(tiny_config), ["SOLVER.WARMUP_ITERS", "0"]))
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer._hooks.clear()  # neither checkpoints nor evaluation
    trainer.train()
    changed = {
        name.split(".")[0]
        for name, parameter in trainer.model.named_parameters()
        if not torch.equal(parameter, before[name])
    }
    assert changed == {"backbone", "sem_seg_head", "instance_head"}


@pytest.mark.parametrize("filter_empty", ["True", "False"])
def test_images_without_objects_stay_in_the_training(
    tiny_config: Path, tiny_set: Path, filter_empty: str
) -> None:
    path = tiny_set / "panoptic_train.json"
    content = json.loads(path.read_text())
    for segment in content["annotations"][0]["segments_info"]:
        segment["category_id"] = 21  # a road
    path.write_text(json.dumps(content))
    words = ["DATALOADER.FILTER_EMPTY_ANNOTATIONS", filter_empty, "INPUT.CROP_OBJECT_PROB", "1.0"]
    loader = iter(Trainer.build_train_loader(load_config(str(tiny_config), words)))
    batches = [next(loader) for _ in range(3)]
    counts = {x["file_name"][-5:]: len(x["instances"]) for batch in batches for x in batch}
    assert counts == {"0.png": 0, "1.png": 2}


def test_processes_with_different_last_checkpoints(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(load_config(str(tiny_config)))
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 0
    monkeypatch.setattr(comm, "all_gather", lambda iteration: [iteration, 280])
    with pytest.raises(CheckpointError, match="do not find the same last checkpoint in '.*output'"):
        trainer.resume_or_load(resume=True)
