"""The hooks of the training loop, and the writers of its scalars."""

import logging
import os
from functools import partial
from typing import Any, Dict, List, Optional

from detectron2.config import CfgNode
from detectron2.engine import HookBase, hooks
from detectron2.utils import comm
from detectron2.utils.events import EventWriter, JSONWriter, TensorboardXWriter

from effps_solo.checkpoint.checkpointer import EMA_KEY
from effps_solo.config import classes_of_data
from effps_solo.data.datasets.registration import check_dataset_available
from effps_solo.data.mapper import PanopticDatasetMapper

from .best import BestCheckpointer
from .checkpointing import PeriodicCheckpointer
from .distributed import AverageRunningStatistics
from .early_stopping import build_early_stopping
from .ema import EMAHook, ModelEMA
from .model_folder import ModelFolderWriter, latest_evaluation
from .pictures import PredictionPictures
from .progress import ProgressPrinter, PromptWriter, Throughput
from .stopping import StopHook
from .wandb_writer import build_wandb_writer

logger = logging.getLogger(__name__)


def own_hooks(detectron2s: List[HookBase], trainer: Any) -> List[HookBase]:
    """``detectron2s``, the hooks of DefaultTrainer in their order, with those of this project.

    They are for checkpoints, evaluation, averages and pictures of an :class:`effps_solo.engine.Trainer`.
    """
    cfg, ema = trainer.cfg, trainer.ema
    periods = [cfg.SOLVER.CHECKPOINT_PERIOD, cfg.TEST.EVAL_PERIOD]
    result: List[HookBase] = []
    for hook in detectron2s:
        if isinstance(hook, hooks.IterationTimer):
            # Behind the timer, and before all that looks at the model.
            result += [hook, Throughput(cfg.SOLVER.IMS_PER_BATCH)]
            result.append(AverageRunningStatistics(periods))
            if ema:
                result.append(EMAHook(ema, periods))
        elif isinstance(hook, hooks.PreciseBN):
            # Each process has the statistics of images of its own again.
            result += [hook, AverageRunningStatistics(periods)]
        elif isinstance(hook, hooks.PeriodicCheckpointer):
            keep = cfg.SOLVER.CHECKPOINT_KEEP
            result.append(PeriodicCheckpointer(trainer.checkpointer, periods[0], keep))
        elif isinstance(hook, hooks.EvalHook):
            written = [each for each in result if isinstance(each, PeriodicCheckpointer)]
            result.append(StopHook(trainer.stop_signals, written[0] if written else None))
            result.append(hooks.EvalHook(cfg.TEST.EVAL_PERIOD, trainer.evaluate))
            if comm.is_main_process():
                result += _best_checkpointer(trainer) + _pictures(cfg)
            if early_stopping := build_early_stopping(cfg, _best_metric(cfg, ema)):
                result.append(early_stopping)
        elif isinstance(hook, hooks.PeriodicWriter):
            result.append(PromptWriter(hook._writers, cfg.TEST.EVAL_PERIOD))
        else:
            result.append(hook)
    return [*result, ModelFolderWriter()] if comm.is_main_process() else result


def averaged_model(ema: Optional[ModelEMA]) -> Dict[str, Any]:
    """The averaged model under its name in checkpoints, if there is one."""
    return {EMA_KEY: ema} if ema else {}


def _best_checkpointer(trainer: Any) -> List[HookBase]:
    cfg, ema = trainer.cfg, trainer.ema
    period = cfg.TEST.EVAL_PERIOD
    if not (cfg.TEST.BEST_METRIC and period > 0):
        return []
    return [
        BestCheckpointer(
            trainer.model,
            cfg.OUTPUT_DIR,
            metric=_best_metric(cfg, ema),
            period=period,
            describe=partial(latest_evaluation, trainer),
            classes=classes_of_data(cfg),
            **averaged_model(ema),
        )
    ]


def _best_metric(cfg: CfgNode, ema: Optional[ModelEMA]) -> str:
    """``TEST.BEST_METRIC``, of the averaged weights where there are any."""
    return f"{EMA_KEY}/{cfg.TEST.BEST_METRIC}" if ema else str(cfg.TEST.BEST_METRIC)


def _pictures(cfg: CfgNode) -> List[HookBase]:
    if not (cfg.VIS_PERIOD > 0 and cfg.DATASETS.TEST):
        return []
    if "panoptic_seg" not in cfg.MODEL.OUTPUTS:
        logger.warning("No pictures (VIS_PERIOD): MODEL.OUTPUTS is without panoptic_seg")
        return []
    name = cfg.DATASETS.TEST[0]
    check_dataset_available(name)
    mapper = PanopticDatasetMapper(cfg, is_train=False)
    return [
        PredictionPictures(name, mapper, period=cfg.VIS_PERIOD, num_images=cfg.TEST.NUM_PICTURES)
    ]


def build_writers(cfg: CfgNode) -> List[EventWriter]:
    """Console, metrics.json, TensorBoard and, on request, W&B."""
    os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    json_writer = JSONWriter(os.path.join(cfg.OUTPUT_DIR, "metrics.json"))
    wandb = build_wandb_writer(cfg) if cfg.WANDB.ENABLED else None
    # TensorBoard's writer takes the pictures away, so it is the last.
    writers = (
        ProgressPrinter(cfg.SOLVER.MAX_ITER),
        json_writer,
        wandb,
        TensorboardXWriter(cfg.OUTPUT_DIR),
    )
    return [writer for writer in writers if writer]
