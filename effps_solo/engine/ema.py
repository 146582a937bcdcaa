"""Exponential moving average of the weights (SOLVER.EMA): a second, steadier model for free."""

from typing import Any, Dict, List, Sequence

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .distributed import AverageRunningStatistics, average_running_statistics, unwrap


class ModelEMA:
    """The average of a model over its steps, weights and running statistics of norms.

    After n steps an old average keeps the share min(decay, (1 + n) / (10 + n)), so that short runs
    forget their first steps, too.

    Attributes:
        model: the averaged one, in eval mode.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """``model`` is followed, not changed; ``decay`` is in [0, 1)."""
        self.decay = decay
        self._averaged = AveragedModel(model, multi_avg_fn=self._average, use_buffers=True)
        self.model: nn.Module = self._averaged.module.eval().requires_grad_(False)

    @property
    def num_updates(self) -> int:
        """How many states of the model went into the average."""
        return int(self._averaged.n_averaged)

    def update(self, model: nn.Module) -> None:
        """Take in the present state of the model; of the first call, all of it."""
        self._averaged.update_parameters(unwrap(model))

    def _average(self, averages: List[torch.Tensor], values: List[torch.Tensor], _: Any) -> None:
        """Take in tensors of one format; integers, which count, as they are."""
        if averages[0].is_floating_point():
            keep = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
            get_ema_multi_avg_fn(keep)(averages, values, self.num_updates)
            return
        for average, value in zip(averages, values):
            average.copy_(value)

    def state_dict(self) -> Dict[str, Any]:
        """The averaged model and the number of updates, as tensors and plain values."""
        return {"model": self.model.state_dict(), "num_updates": self.num_updates}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Go on with an average."""
        self.model.load_state_dict(state["model"])
        self._averaged.n_averaged.fill_(state["num_updates"])


class EMAHook(AverageRunningStatistics):
    """Updates a :class:`ModelEMA` after every step; its statistics are made equal, too."""

    def __init__(self, ema: ModelEMA, periods: Sequence[int]) -> None:
        super().__init__(periods)
        self.ema = ema

    def after_step(self) -> None:
        self.ema.update(self.trainer.model)
        super().after_step()

    def average(self) -> None:
        average_running_statistics(self.ema.model.train())
        self.ema.model.eval()
