"""The best checkpoint of a run."""

import logging
import math
import os
from typing import Any, Callable, Dict, Optional

from detectron2.engine import HookBase
from detectron2.utils.events import get_event_storage
from torch import nn

from effps_solo.checkpoint.checkpointer import CheckpointWriteError, EffPSCheckpointer
from effps_solo.checkpoint.safe_loading import safe_load_checkpoint
from effps_solo.utils.errors import CheckpointError

BEST = "model_best"
logger = logging.getLogger(__name__)


class _WeightsOnlyCheckpointer(EffPSCheckpointer):
    """Writes files that no training resumes from."""

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """The last checkpoint stays the one to resume from."""


class BestCheckpointer(HookBase):
    """Writes model_best.pth whenever an evaluation beats all those before it.

    Detectron2's forgets the best value when a run is resumed and makes its file the one to resume
    from. The file holds weights, checkpointables, the metric and its value. ``metric`` is the name
    of a scalar that an evaluation gives every ``period`` iterations, larger is better. ``describe`` tells
    what else belongs into the file; ``options`` are those of the checkpointer.
    """

    def __init__(
        self,
        model: nn.Module,
        output_dir: str,
        *,
        metric: str,
        period: int,
        describe: Callable[[], Dict[str, Any]] = dict,
        **options: Any,
    ) -> None:
        self.checkpointer = _WeightsOnlyCheckpointer(model, output_dir, **options)
        self.describe = describe
        self.metric, self.period = metric, period
        self.best: Optional[float] = None

    def before_train(self) -> None:
        path = os.path.join(self.checkpointer.save_dir, f"{BEST}.pth")
        if self.trainer.start_iter == 0 or not os.path.isfile(path):
            return
        try:
            before = safe_load_checkpoint(path)
        except CheckpointError as error:
            logger.warning("The best checkpoint so far is left out of account: %s", error)
            return
        if before.get("metric") == self.metric:
            self.best = before["value"]

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        # The last evaluation comes after the training.
        if self.period > 0 and done % self.period == 0 and done != self.trainer.max_iter:
            self._compare()

    def after_train(self) -> None:
        if self.trainer.iter + 1 >= self.trainer.max_iter:  # it did not fail
            self._compare()

    def _compare(self) -> None:
        latest = get_event_storage().latest()
        if self.metric not in latest:
            there = sorted(name for name in latest if name.endswith(self.metric.split("/")[-1]))
            logger.warning("There is no %s; TEST.BEST_METRIC can be one of %s", self.metric, there)
            return
        value, iteration = latest[self.metric]
        if iteration != self.trainer.iter or not math.isfinite(value):
            logger.warning("No finite %s (TEST.BEST_METRIC) at this evaluation", self.metric)
            return
        if self.best is not None and value <= self.best:
            return
        try:
            # Behind the training Detectron2 counts one more.
            last = min(iteration, self.trainer.max_iter - 1)
            known = {"metric": self.metric, "value": value, "iteration": last}
            self.checkpointer.save(BEST, **known, **self.describe())
        except CheckpointWriteError as error:
            logger.error("%s. Training goes on.", error)
            return
        logger.info("%s is %.2f, the best so far: saved as %s.pth", self.metric, value, BEST)
        self.best = value
