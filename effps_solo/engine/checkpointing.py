"""When checkpoints are written, and which of them stay."""

import contextlib
import logging
import os
from typing import Any, Dict, List

from detectron2.engine import HookBase

from effps_solo.checkpoint.checkpointer import CheckpointWriteError, EffPSCheckpointer

logger = logging.getLogger(__name__)


class PeriodicCheckpointer(HookBase):
    """Writes model_<iteration>.pth every ``period`` iterations and model_final.pth at the end.

    Of those with a number it keeps the last ``max_to_keep``, with 0 all, and removes older ones, if it
    wrote them in this run or before the run was resumed. When one cannot be written the run goes on
    with those that are there, but at its end.
    """

    def __init__(self, checkpointer: EffPSCheckpointer, period: int, max_to_keep: int) -> None:
        self.checkpointer = checkpointer
        self.period, self.max_to_keep = period, max_to_keep
        self._written: List[str] = []
        self._last = -1  # iteration that was saved

    def after_step(self) -> None:
        iteration = self.trainer.iter
        if self.period > 0 and (iteration + 1) % self.period == 0:
            try:
                self._save_one_of_many(iteration)
            except CheckpointWriteError as error:
                logger.error("%s. Training goes on; the last checkpoint is the one before.", error)
        if iteration >= self.trainer.max_iter - 1:
            self.checkpointer.save("model_final", iteration=iteration)
            self._last = iteration

    def save_now(self) -> None:
        """Write the checkpoint of this iteration unless it is there; CheckpointWriteError if impossible."""
        if self._last != self.trainer.iter:
            self._save_one_of_many(self.trainer.iter)

    def _save_one_of_many(self, iteration: int) -> None:
        name, before = f"model_{iteration:07d}", self._written
        self._written = [n for n in before if n != name] + [name]  # the file itself tells of it
        try:
            self.checkpointer.save(name, iteration=iteration)
        except CheckpointWriteError:
            self._written = before
            raise
        self._last = iteration
        while self.max_to_keep and len(self._written) > self.max_to_keep:
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(self.checkpointer.save_dir, f"{self._written.pop(0)}.pth"))

    def state_dict(self) -> Dict[str, Any]:
        """The names of the files that wait for their removal."""
        return {"written": list(self._written)}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Go on with the files of the run that is resumed."""
        self._written = list(state["written"])
