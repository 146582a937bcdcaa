"""One training step."""

import contextlib
import logging
import time
from typing import Any, ContextManager, Dict, Iterable, List, Optional, Tuple

import torch
from detectron2.engine import SimpleTrainer
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from effps_solo.data.seeding import seed_all
from effps_solo.modeling.instance_head import StepTotals, total_over_processes
from effps_solo.modeling.precision import Precision

from .distributed import unwrap
from .guard import NonFiniteGuard
from .resume import with_own_settings

logger = logging.getLogger(__name__)

Losses = Dict[str, torch.Tensor]


class TrainingLoop(SimpleTrainer):
    """Detectron2's loop in any :class:`Precision`, over micro-batches, with a guard against NaN."""

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: torch.optim.Optimizer,
        *,
        precision: Precision,
        num_micro_batches: int = 1,
        guard: Optional[NonFiniteGuard] = None,
    ) -> None:
        """
        Args:
            precision: of the forward and backward pass.
            num_micro_batches: equal parts of a batch that pass through the model one after the other.
            guard: checks losses and gradients; None: no check.
        """
        super().__init__(model, data_loader, optimizer)
        self.precision = precision
        self.num_micro_batches = num_micro_batches
        self.guard = guard
        # Of the random numbers of the next step; empty: they go on where they are.
        self.seed_key: Tuple[int, ...] = ()

    def run_step(self) -> None:
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        self.optimizer.zero_grad()
        losses = self._add_gradients(self._micro_batches(batch))
        if losses is None:
            self.optimizer.zero_grad()
            return
        self.after_backward()
        self._write_metrics(losses, data_time)
        self.precision.step(self.optimizer)
        if self.guard and self.precision.overflows_unscaled():
            self.guard.stop("gradient")

    def _micro_batches(self, batch: Any) -> List[Any]:
        count = self.num_micro_batches
        if count == 1:
            return [batch]
        size = len(batch) // count
        return [batch[i * size : (i + 1) * size] for i in range(count)]

    def _add_gradients(self, micro_batches: List[Any]) -> Optional[Losses]:
        """The means of the losses over the micro-batches; None where the guard rejects the step."""
        if self.seed_key:
            seed_all(*self.seed_key)
        if self.guard:
            self.guard.start_step(self.iter, self.seed_key)
        totals = None  # the model sees all of this process at once
        if len(micro_batches) > 1:
            counts = sum(unwrap(self.model).count_targets(batch) for batch in micro_batches)
            totals = total_over_processes(counts, len(micro_batches))
        means: Losses = {}
        for number, batch in enumerate(micro_batches, start=1):
            with self._gradient_exchange(number == len(micro_batches)):
                losses = self._forward(batch, totals)
                if self.guard and not self.guard.accepts_losses(batch, totals, losses):
                    return None
                self.precision.backward(sum(losses.values()) / len(micro_batches))
            for name, loss in losses.items():
                means[name] = means.get(name, 0) + loss.detach() / len(micro_batches)
        # fp16 has a scaler, which expects gradients that overflow, and leaves them out.
        if self.guard and not self.precision.grad_scaler.is_enabled():
            return means if self.guard.accepts_gradients() else None
        return means

    def _forward(self, batch: Any, totals: Optional[StepTotals]) -> Losses:
        with self.precision.autocast():
            losses: Losses = self.model(batch) if totals is None else self.model(batch, totals)
        return losses

    def _gradient_exchange(self, wanted: bool) -> ContextManager[Any]:
        """The context of a pass whose backward part ends with the gradients of all, if wanted."""
        if wanted or not isinstance(self.model, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.model.no_sync()

    def state_dict(self) -> Dict[str, Any]:
        state = {**super().state_dict(), "grad_scaler": self.precision.state_dict()}
        for name, part in self._stateful_parts().items():
            state[name] = part.state_dict()
        return state

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        optimizer = with_own_settings(self.optimizer, state_dict["optimizer"])
        super().load_state_dict({**state_dict, "optimizer": optimizer})
        self.precision.load_state_dict(state_dict.get("grad_scaler", {}))
        for name, part in self._stateful_parts().items():
            if name in state_dict:
                part.load_state_dict(state_dict[name])
            else:
                logger.warning("The checkpoint holds no state of the %s; it starts anew", name)

    def _stateful_parts(self) -> Dict[str, Any]:
        parts = {"data_loader": self.data_loader, "guard": self.guard}
        return {name: part for name, part in parts.items() if hasattr(part, "state_dict")}
