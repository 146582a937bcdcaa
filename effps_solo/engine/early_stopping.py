"""The end of a training that gains nothing any more."""

import json
import logging
import math
import os
from contextlib import suppress
from typing import Dict, Optional

from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm

from effps_solo.utils.errors import ConfigError

logger = logging.getLogger(__name__)


class StoppedEarly(BaseException):
    """Ends the loop of Detectron2, which reports every ``Exception`` as a failure."""


class EarlyStopping(HookBase):
    """Ends the training when the last ``patience`` evaluations have all not exceeded the best before them.

    What earlier runs of a resumed training have reached stands in metrics.json, and is read from there.
    Must be on every process, behind the evaluation. The main process decides.
    """

    def __init__(self, output_dir: str, *, metric: str, period: int, patience: int) -> None:
        """
        Args:
            output_dir: of the training.
            metric: name of a scalar that an evaluation gives every ``period`` iterations, larger is better.
            patience: evaluations, at least 1.
        """
        self.path = os.path.join(output_dir, "metrics.json")
        self.metric, self.period, self.patience = metric, period, patience
        self.values: Dict[int, float] = {}  # by iteration; only finite ones can be the best

    def is_due_before(self, iteration: int) -> bool:
        """Whether the training had ended before an iteration; all processes have to call it."""
        if comm.is_main_process():
            self.values = _read(self.path, self.metric, iteration)
        return self._is_due()

    def after_step(self) -> None:
        iteration = self.trainer.iter
        done = iteration + 1
        if done % self.period or done == self.trainer.max_iter:
            return
        if comm.is_main_process():
            value, at = self.trainer.storage.latest().get(self.metric, (math.nan, iteration))
            self.values[iteration] = value if at == iteration else math.nan
        if self._is_due():
            self.trainer.checkpointer.save("model_final", iteration=iteration)
            comm.synchronize()  # nobody ends, and has the others ended, before it is on the disk
            raise StoppedEarly

    def _is_due(self) -> bool:
        best = self._best()
        behind = 0 if best is None else sum(iteration > best for iteration in self.values)
        return bool(comm.all_gather(behind >= self.patience)[0])

    def _best(self) -> Optional[int]:
        """The iteration of the first of the best values; None without any."""
        finite = [i for i in sorted(self.values) if math.isfinite(self.values[i])]
        return max(finite, key=lambda i: self.values[i], default=None)

    def tell(self) -> None:
        """Say why it ended; on the main process."""
        best = self._best()
        if best is not None:
            logger.info(
                "Early stopping: %s was %.2f after iteration %d, and no better in the %d evaluations since "
                "(SOLVER.EARLY_STOPPING_PATIENCE %d). The training is finished",
                self.metric,
                self.values[best],
                best,
                sum(iteration > best for iteration in self.values),
                self.patience,
            )


def build_early_stopping(cfg: CfgNode, metric: str) -> Optional[EarlyStopping]:
    """The hook of a config, None where it is off; ``metric`` is that of the best checkpoint.

    Raises ConfigError where there are no evaluations, or no metric, to follow.
    """
    patience, period = cfg.SOLVER.EARLY_STOPPING_PATIENCE, cfg.TEST.EVAL_PERIOD
    if patience <= 0:
        return None
    if not (cfg.TEST.BEST_METRIC and period > 0 and cfg.DATASETS.TEST):
        raise ConfigError(
            f"SOLVER.EARLY_STOPPING_PATIENCE is {patience}, but TEST.EVAL_PERIOD is {period}, "
            f"TEST.BEST_METRIC '{cfg.TEST.BEST_METRIC}' and "
            f"DATASETS.TEST {tuple(cfg.DATASETS.TEST)}; it needs all of them"
        )
    return EarlyStopping(cfg.OUTPUT_DIR, metric=metric, period=period, patience=patience)


def _read(path: str, metric: str, end: int) -> Dict[int, float]:
    """The values of a metric before iteration ``end``; of an iteration that was done twice the last one."""
    values: Dict[int, float] = {}
    if end == 0 or not os.path.isfile(path):
        return values
    with open(path, encoding="utf-8") as file:
        for line in file:
            with suppress(ValueError):  # a killed training can leave half a line
                content = json.loads(line)
                if metric in content and content["iteration"] < end:
                    values[content["iteration"]] = content[metric]
    return values
