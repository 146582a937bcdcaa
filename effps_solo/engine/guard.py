"""What becomes of a loss or a gradient that is no number."""

import logging
import math
import os
from typing import Any, Dict, List, NoReturn, Optional, Tuple

import torch
from detectron2.utils import comm
from torch import distributed, nn

from effps_solo.modeling.instance_head import StepTotals, total_over_processes
from effps_solo.utils.errors import CheckpointError, UserError

from .dump import ForwardPass, StepDump, save_dump

logger = logging.getLogger(__name__)

Losses = Dict[str, torch.Tensor]


class NonFiniteError(UserError):
    """A loss or a gradient is NaN or infinite; the message names images and loss terms."""


class NonFiniteGuard:
    """Ends a training at a loss or gradient that is NaN or infinite, or leaves out ``max_skipped`` steps.

    In either case the step is written to the output folder. A step that is left out changes neither
    weights nor running statistics. All processes decide alike. ``model`` is not wrapped.
    """

    def __init__(self, model: nn.Module, *, output_dir: str, max_skipped: int = 0) -> None:
        self.model, self.output_dir = model, output_dir
        self.max_skipped, self.num_skipped = max_skipped, 0
        self._dump = StepDump(0, (), {}, [])
        self._buffers: List[torch.Tensor] = []

    def start_step(self, iteration: int, seed_key: Tuple[int, ...]) -> None:
        """Remember what a forward pass changes; ``seed_key`` is that of the step's random numbers."""
        self._buffers = [buffer.clone() for buffer in self.model.buffers()]
        self._dump = StepDump(iteration, seed_key, {}, [])

    def accepts_losses(
        self, batch: List[Dict[str, Any]], totals: Optional[StepTotals], losses: Losses
    ) -> bool:
        """Whether all losses of all processes are finite, and the step may go on.

        Raises NonFiniteError when they are not, and there were too many such steps.
        """
        names, terms = list(losses), torch.stack([loss.detach() for loss in losses.values()])
        values = terms.tolist()
        self._dump.passes.append(ForwardPass(batch, totals, dict(zip(names, values))))
        finite = terms.new_tensor(float(all(map(math.isfinite, values))))
        if comm.get_world_size() > 1:
            distributed.all_reduce(finite, distributed.ReduceOp.MIN)
        return bool(finite) or self._skip("loss")

    def accepts_gradients(self) -> bool:
        """The same for the gradients, after the processes have averaged them."""
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return bool(nn.utils.get_total_norm(gradients).isfinite()) or self._skip("gradient")

    def _skip(self, what: str) -> bool:
        """Undo what the forward passes changed, report the step; returns False: it is left out."""
        for buffer, before in zip(self.model.buffers(), self._buffers):
            buffer.copy_(before)
        self.num_skipped += 1
        if self.num_skipped > self.max_skipped:
            self.stop(what)
        text = self._text(what)
        logger.warning("%s. Left out: step %d of %d", text, self.num_skipped, self.max_skipped)
        return False

    def stop(self, what: str) -> NoReturn:
        """Raise NonFiniteError, as all processes have to; ``what`` is "loss" or "gradient"."""
        raise NonFiniteError(
            f"{self._text(what)}. `effps-solo replay` repeats the step. SOLVER.MAX_NONFINITE_STEPS "
            f"leaves such steps out (now {self.max_skipped}); a lower SOLVER.BASE_LR or "
            "SOLVER.CLIP_GRADIENTS may avoid them"
        )

    def _text(self, what: str) -> str:
        reports = "; ".join(comm.all_gather(self._report()))
        return f"iteration {self._dump.iteration} has a {what} that is not finite: {reports}"

    def _report(self) -> str:
        """Write the step to disk; what this process had, in words."""
        dump, rank = self._dump, comm.get_rank()
        dump.model = self.model.state_dict()
        for each in dump.passes:
            if each.totals is None:
                each.totals = total_over_processes(self.model.count_targets(each.batch))
        terms = ", ".join(f"{name} {value:.6g}" for name, value in dump.passes[-1].losses.items())
        files = ", ".join(str(x.get("file_name")) for each in dump.passes for x in each.batch)
        path = os.path.join(self.output_dir, f"nonfinite_{dump.iteration:07d}_rank{rank}.pth")
        try:
            save_dump(dump, path)
        except (OSError, RuntimeError, CheckpointError) as error:  # the report matters more
            path = f"not written ({error})"
        return f"{terms}; images {files}; dump {path}"

    def state_dict(self) -> Dict[str, Any]:
        """How many steps were left out."""
        return {"num_skipped": self.num_skipped}

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Go on counting."""
        self.num_skipped = state["num_skipped"]
