"""A stopped training: the running step is finished, and a checkpoint written from which --resume goes on."""

from typing import Any, Callable, Dict, List, Optional

from detectron2.engine import HookBase
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from .checkpointing import PeriodicCheckpointer
from .distributed import AverageRunningStatistics
from .signals import StopSignals, TrainingStopped


class StopHook(HookBase):
    """Ends the training behind a step in which a signal came, in all processes alike.

    Must be on every process, behind the hooks that change the model and the schedule.
    """

    def __init__(self, signals: StopSignals, checkpointer: Optional[PeriodicCheckpointer]) -> None:
        """``checkpointer`` is that of the main process, None on others."""
        self.signals, self.checkpointer = signals, checkpointer

    def after_step(self) -> None:
        self.stop_if_asked(average=True)

    def stop_if_asked(self, average: bool = False) -> None:
        """All processes have to call it.

        Args:
            average: make the running statistics equal, which they are while the training evaluates.

        Raises:
            TrainingStopped: a signal has come; the checkpoint is there.
            CheckpointWriteError: it could not be written.
        """
        number = self.signals.agreed(next(self.trainer.model.parameters()).device)
        if not number:
            return
        if self.trainer.iter < self.trainer.max_iter:  # else model_final.pth is there
            for hook in self.trainer._hooks:
                if average and isinstance(hook, AverageRunningStatistics):
                    hook.average()
            if self.checkpointer:
                self.checkpointer.save_now()
        comm.synchronize()  # nobody ends, and has the others ended, before it is on the disk
        raise TrainingStopped(number)


class Interruptible(DatasetEvaluator):
    """An evaluator that lets a signal end the evaluation at the next image."""

    def __init__(
        self, evaluator: DatasetEvaluator, signals: StopSignals, stop_if_asked: Callable[[], None]
    ) -> None:
        """``stop_if_asked`` is called once by every process, at the latest when its images are done."""
        self.evaluator, self.signals, self.stop_if_asked = evaluator, signals, stop_if_asked

    def reset(self) -> None:
        self.evaluator.reset()

    def process(self, inputs: List[Dict[str, Any]], outputs: List[Dict[str, Any]]) -> None:
        """See Detectron2."""
        if self.signals.received:
            self.stop_if_asked()  # raises
        self.evaluator.process(inputs, outputs)

    def evaluate(self) -> Any:
        """See Detectron2."""
        self.stop_if_asked()
        return self.evaluator.evaluate()
