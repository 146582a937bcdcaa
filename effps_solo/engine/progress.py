"""How far the training is and how fast, on the console and as a scalar."""

import datetime
import logging
from typing import Optional, Sequence

import torch
from detectron2.engine import HookBase, hooks
from detectron2.utils.events import EventStorage, EventWriter, get_event_storage

from effps_solo.utils.machine import peak_resident_memory

THROUGHPUT = "images_per_second"
_WINDOW = 20  # iterations whose median the console shows
_ETA_WINDOW = 1000
logger = logging.getLogger(__name__)


class Throughput(HookBase):
    """Gives the scalar "images_per_second": of all processes, time spent on evaluation left out.

    ``batch_size`` is the number of images of an iteration.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def after_step(self) -> None:
        seconds, iteration = self.trainer.storage.latest().get("time", (0.0, -1))
        if iteration == self.trainer.iter and seconds > 0:
            self.trainer.storage.put_scalar(THROUGHPUT, self.batch_size / seconds)


class PromptWriter(hooks.PeriodicWriter):
    """Detectron2's, every 20 iterations, that also prints at the third step and writes an evaluation at once.

    The third is the first whose time is measured. ``eval_period``: iterations between evaluations, or 0.
    """

    def __init__(self, writers: Sequence[EventWriter], eval_period: int) -> None:
        super().__init__(writers)
        self.eval_period = eval_period

    def after_step(self) -> None:
        super().after_step()
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            return
        if self.eval_period > 0 and done % self.eval_period == 0:
            for writer in self._writers:
                writer.write()
        elif done - self.trainer.start_iter == 3:
            for writer in self._writers:
                if isinstance(writer, ProgressPrinter):
                    writer.write()


class ProgressPrinter(EventWriter):
    """One line: iteration of ``max_iter``, share and time left, images per second, losses, rate, memory.

    In the place of Detectron2's CommonMetricPrinter, whose words it keeps.
    """

    def __init__(self, max_iter: int) -> None:
        self.max_iter = max_iter

    def write(self) -> None:
        storage = get_event_storage()
        done = storage.iter + 1
        if done > self.max_iter:  # at the end there is nothing new
            return
        parts = [f"iter: {storage.iter}/{self.max_iter} ({100 * done // self.max_iter}%)"]
        seconds = _median(storage, "time", _ETA_WINDOW)
        if seconds is not None:
            left = int(seconds * (self.max_iter - done))
            storage.put_scalar("eta_seconds", left, smoothing_hint=False)
            parts.insert(0, f"eta: {datetime.timedelta(seconds=left)}")
        losses = [(name, name, ".4g") for name in storage.histories() if _is_loss(name)]
        of_window = [(THROUGHPUT, "images/s", ".3g"), *losses, ("data_time", "data_time", ".4f")]
        for name, title, form in of_window:
            value = _median(storage, name)
            if value is not None:
                parts.append(f"{title}: {value:{form}}")
        if "lr" in storage.latest():
            parts.append(f"lr: {storage.latest()['lr'][0]:.5g}")
        on_gpu = torch.cuda.is_available()
        memory = torch.cuda.max_memory_allocated() if on_gpu else peak_resident_memory()
        if memory:
            parts.append(f"max_mem: {memory / 2**20:.0f}M")
        logger.info("  ".join(parts))


def _is_loss(name: str) -> bool:
    """Of training; what evaluations give has a slash in its name."""
    return "loss" in name and "/" not in name


def _median(storage: EventStorage, name: str, window: int = _WINDOW) -> Optional[float]:
    """Of the last iterations; None where there is no such scalar."""
    if name not in storage.histories():
        return None
    median: float = storage.history(name).median(storage.count_samples(name, window))
    return median
