"""Learning rates over the iterations, and for a batch size."""

import math
from typing import List

import pytest
import torch
from detectron2.config import CfgNode, get_cfg

from effps_solo import add_effps_solo_config
from effps_solo.engine import Trainer
from effps_solo.engine.schedule import scale_learning_rate
from effps_solo.utils.errors import ConfigError


@pytest.fixture
def cfg() -> CfgNode:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    solver = cfg.SOLVER
    solver.BASE_LR, solver.MAX_ITER = 0.5, 10
    solver.WARMUP_ITERS, solver.WARMUP_FACTOR = 4, 0.1
    return cfg


def rates(cfg: CfgNode) -> List[float]:
    """The learning rate of every iteration."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    scheduler = Trainer.build_lr_scheduler(cfg, optimizer)
    result = []
    for _ in range(cfg.SOLVER.MAX_ITER):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return result


def test_poly_after_a_linear_warmup(cfg: CfgNode) -> None:
    cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupPolyLR"
    cfg.SOLVER.POLY_LR_POWER = 2.0
    # From a tenth in a straight line to (1 - 4/10)^2 at iteration 4, then the parabola.
    warmup = [0.05 + i / 4 * (0.5 * 0.36 - 0.05) for i in range(4)]
    parabola = [0.5 * (1 - i / 10) ** 2 for i in range(4, 10)]
    assert rates(cfg) == pytest.approx(warmup + parabola)


def test_cosine_after_a_linear_warmup_to_the_final_rate(cfg: CfgNode) -> None:
    cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupCosineLR"
    cfg.SOLVER.BASE_LR_END = 0.1
    cosine = [0.1 + 0.4 * (1 + math.cos(math.pi * i / 10)) / 2 for i in range(11)]
    assert rates(cfg)[4:] == pytest.approx(cosine[4:10])
    assert rates(cfg)[:4] == pytest.approx([0.05 + i / 4 * (cosine[4] - 0.05) for i in range(4)])


def test_no_warmup_at_all(cfg: CfgNode) -> None:
    cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupPolyLR"
    cfg.SOLVER.WARMUP_ITERS = 0
    assert rates(cfg) == pytest.approx([0.5 * (1 - i / 10) ** 0.9 for i in range(10)])


def test_unknown_schedules_and_a_rising_one(cfg: CfgNode) -> None:
    cfg.SOLVER.LR_SCHEDULER_NAME = "PolyLR"
    with pytest.raises(ConfigError, match="LR_SCHEDULER_NAME is 'PolyLR'.*WarmupPolyLR"):
        rates(cfg)
    cfg.SOLVER.LR_SCHEDULER_NAME = "WarmupCosineLR"
    cfg.SOLVER.BASE_LR_END = 0.7
    with pytest.raises(ConfigError, match="BASE_LR_END is 0.7.*0.5"):
        rates(cfg)


@pytest.mark.parametrize("optimizer, factor", [("SGD", 4.0), ("AdamW", 2.0)])
def test_the_rate_follows_the_batch_size_on_request(
    cfg: CfgNode, optimizer: str, factor: float
) -> None:
    cfg.SOLVER.OPTIMIZER = optimizer
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.BASE_LR_END = 8, 0.01
    cfg.freeze()
    assert scale_learning_rate(cfg) is cfg
    cfg.defrost()
    cfg.SOLVER.REFERENCE_BATCH_SIZE = 2
    cfg.freeze()
    scaled = scale_learning_rate(cfg)
    assert scaled.is_frozen() and cfg.SOLVER.BASE_LR == 0.5
    assert scaled.SOLVER.BASE_LR == pytest.approx(0.5 * factor)
    assert scaled.SOLVER.BASE_LR_END == pytest.approx(0.01 * factor)
    assert scale_learning_rate(scaled) is scaled


def test_two_references_contradict(cfg: CfgNode) -> None:
    cfg.SOLVER.REFERENCE_BATCH_SIZE, cfg.SOLVER.REFERENCE_WORLD_SIZE = 2, 4
    with pytest.raises(ConfigError, match="REFERENCE_BATCH_SIZE and SOLVER.REFERENCE_WORLD_SIZE"):
        scale_learning_rate(cfg)
