"""One training step."""

import time
from typing import Any, Dict, Iterable

import torch
from detectron2.engine import SimpleTrainer
from torch import nn

from .precision import Precision


class TrainingLoop(SimpleTrainer):
    """Detectron2's loop in any :class:`Precision`; its AMPTrainer needs CUDA."""

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: torch.optim.Optimizer,
        *,
        precision: Precision,
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        self.precision = precision

    def run_step(self) -> None:
        start = time.perf_counter()
        data = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        self.optimizer.zero_grad()
        with self.precision.autocast():
            losses = self.model(data)
        self.precision.backward(sum(losses.values()))
        self.after_backward()
        self._write_metrics(losses, data_time)
        self.precision.step(self.optimizer)

    def state_dict(self) -> Dict[str, Any]:
        return {**super().state_dict(), "grad_scaler": self.precision.state_dict()}

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.precision.load_state_dict(state_dict.get("grad_scaler", {}))
