"""The learning rate: its base for a batch size, and its course over the training."""

import logging

import torch
from detectron2.config import CfgNode
from detectron2.solver import LRMultiplier, LRScheduler, WarmupParamScheduler
from detectron2.solver import build_lr_scheduler as build_detectron2_lr_scheduler
from fvcore.common.param_scheduler import PolynomialDecayParamScheduler

from effps_solo.utils.errors import ConfigError

POLY = "WarmupPolyLR"
_DETECTRON2S = ("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR")
logger = logging.getLogger(__name__)


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """``SOLVER.LR_SCHEDULER_NAME``: one of Detectron2's, or WarmupPolyLR.

    WarmupPolyLR is that of Detectron2's DeepLab project: (1 - iteration / MAX_ITER) ^ POLY_LR_POWER.

    Raises:
        ConfigError: unknown name, or a final learning rate above the base.
    """
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME == POLY:
        warmup = WarmupParamScheduler(
            PolynomialDecayParamScheduler(1.0, solver.POLY_LR_POWER),
            solver.WARMUP_FACTOR,
            min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0),
            solver.WARMUP_METHOD,
            solver.RESCALE_INTERVAL,
        )
        return LRMultiplier(optimizer, multiplier=warmup, max_iter=solver.MAX_ITER)
    if solver.LR_SCHEDULER_NAME not in _DETECTRON2S:
        raise ConfigError(
            f"SOLVER.LR_SCHEDULER_NAME is '{solver.LR_SCHEDULER_NAME}'; choose one of "
            f"{[*_DETECTRON2S, POLY]}"
        )
    if not 0 <= solver.BASE_LR_END <= solver.BASE_LR:
        raise ConfigError(
            f"SOLVER.BASE_LR_END is {solver.BASE_LR_END}; it must be between 0 and SOLVER.BASE_LR, "
            f"{solver.BASE_LR}"
        )
    return build_detectron2_lr_scheduler(cfg, optimizer)


def scale_learning_rate(cfg: CfgNode) -> CfgNode:
    """``cfg`` with learning rates for its batch size, if ``SOLVER.REFERENCE_BATCH_SIZE`` is given.

    BASE_LR and BASE_LR_END belong to batches of the reference size. For SGD they grow in proportion
    to the batch (Goyal et al. 2017), for AdamW with its square root (Malladi et al. 2022).

    Returns:
        ``cfg`` itself where there is nothing to scale, else a changed copy.

    Raises:
        ConfigError: SOLVER.REFERENCE_WORLD_SIZE, which scales the rate as well, is given, too.
    """
    reference = cfg.SOLVER.REFERENCE_BATCH_SIZE
    if reference == 0 or reference == cfg.SOLVER.IMS_PER_BATCH:
        return cfg
    if cfg.SOLVER.REFERENCE_WORLD_SIZE:
        raise ConfigError(
            "SOLVER.REFERENCE_BATCH_SIZE and SOLVER.REFERENCE_WORLD_SIZE both scale the learning "
            "rate; set one of them to 0"
        )
    ratio = cfg.SOLVER.IMS_PER_BATCH / reference
    factor = ratio**0.5 if cfg.SOLVER.OPTIMIZER == "AdamW" else ratio
    scaled = cfg.clone()
    scaled.defrost()
    scaled.SOLVER.BASE_LR *= factor
    scaled.SOLVER.BASE_LR_END *= factor
    # So that scaling twice is scaling once.
    scaled.SOLVER.REFERENCE_BATCH_SIZE = scaled.SOLVER.IMS_PER_BATCH
    if cfg.is_frozen():
        scaled.freeze()
    logger.info(
        "learning rate %g for batches of %d", scaled.SOLVER.BASE_LR, scaled.SOLVER.IMS_PER_BATCH
    )
    return scaled
