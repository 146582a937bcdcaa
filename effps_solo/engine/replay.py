"""Repeats a dumped training step, and finds the module that first gives NaN or infinity."""

from typing import Any, Callable, Dict, Iterator, List

import torch
from detectron2.utils.events import EventStorage
from torch import nn

from effps_solo.data.seeding import seed_all
from effps_solo.modeling.precision import Precision
from effps_solo.utils.errors import CheckpointError

from .dump import StepDump


class Replay:
    """What a dumped step gives when it is repeated.

    Attributes:
        losses: by name, of every pass.
        first_module: dotted name of the first module with an output that is not finite, "" for none.
        parameters: names of those with a gradient that is not finite.
    """

    def __init__(self, model: nn.Module, dump: StepDump, precision: Precision) -> None:
        """``model`` is that of the dump's config, whose weights it takes over; else CheckpointError."""
        try:
            model.load_state_dict(dump.model)
        except RuntimeError as error:
            text = " ".join(str(error).split())
            raise CheckpointError(f"the dump is not of the config's model: {text}") from error
        model.train().zero_grad()
        self.losses: List[Dict[str, float]] = []
        self.first_module = ""
        hooks = [m.register_forward_hook(self._look(name)) for name, m in model.named_modules()]
        if dump.seed_key:
            seed_all(*dump.seed_key)
        for each in dump.passes:
            # Detectron2's heads write scalars.
            with precision.autocast(), EventStorage(dump.iteration):
                losses = model(each.batch, each.totals)
            self.losses.append({name: float(loss.detach()) for name, loss in losses.items()})
            precision.backward(sum(losses.values()) / len(dump.passes))
        for hook in hooks:
            hook.remove()
        self.parameters = [
            name
            for name, parameter in model.named_parameters()
            if parameter.grad is not None and not parameter.grad.isfinite().all()
        ]

    def _look(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            finite = all(bool(x.isfinite().all()) for x in _float_tensors(output))
            if not finite and not self.first_module:
                self.first_module = name or type(module).__name__

        return hook


def _float_tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _float_tensors(part)
