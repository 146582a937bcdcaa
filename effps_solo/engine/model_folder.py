"""What a training leaves for others: OUTPUT_DIR/model, a folder that needs no data set."""

import logging
import os
import sys
from typing import Any, Dict

from detectron2.engine import HookBase

from effps_solo.checkpoint.checkpointer import EMA_KEY
from effps_solo.checkpoint.model_folder import FOLDER_NAME
from effps_solo.inference.model_card import evaluation_of
from effps_solo.inference.model_config import BEST_WEIGHTS, FINAL_WEIGHTS
from effps_solo.inference.pack import EVALUATION_KEY, pack
from effps_solo.utils.errors import UserError

from .best import BestCheckpointer
from .early_stopping import StoppedEarly

logger = logging.getLogger(__name__)


class ModelFolderWriter(HookBase):
    """Packs the best weights of a training that came to its end, or where none are known its last."""

    def after_train(self) -> None:
        trainer = self.trainer
        ended_early = isinstance(sys.exc_info()[1], StoppedEarly)
        if trainer.iter + 1 < trainer.max_iter and not ended_early:  # it failed
            return
        keeps_best = any(
            isinstance(hook, BestCheckpointer) and hook.best is not None for hook in trainer._hooks
        )
        cfg = trainer.cfg.clone()
        cfg.defrost()
        name = BEST_WEIGHTS if keeps_best else FINAL_WEIGHTS
        cfg.MODEL.WEIGHTS = os.path.join(cfg.OUTPUT_DIR, name)
        folder = os.path.join(cfg.OUTPUT_DIR, FOLDER_NAME)
        evaluation = None if keeps_best else latest_evaluation(trainer).get(EVALUATION_KEY)
        images = len(trainer.data_loader.dataset.records)
        try:
            pack(cfg, folder, evaluation=evaluation, num_images=images)
        except (OSError, UserError) as error:
            logger.error("No model folder: %s. `effps-solo pack` makes one.", error)


def latest_evaluation(trainer: Any) -> Dict[str, Any]:
    """What a checkpoint says of the last evaluation of an :class:`effps_solo.engine.Trainer`; {}: none."""
    results = getattr(trainer, "_last_eval_results", {})
    if trainer.ema and trainer.cfg.TEST.USE_EMA:
        results = results.get(EMA_KEY, {})
    return {EVALUATION_KEY: evaluation_of(trainer.cfg, results)} if results else {}
