"""Where the time of a model goes: every moment belongs to the innermost scope that is open."""

import functools
import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List

import torch
from torch import nn

# Stages in the order of an image's way -> methods of a model that are it, without what they call of other
# stages. A model has some.
_METHODS: Dict[str, List[str]] = {
    "load": [],
    "preprocess": ["_preprocess", "preprocess_image"],
    "backbone": ["backbone.bottom_up.forward"],
    "neck": ["backbone.forward"],
    "semantic head": ["sem_seg_head.forward"],
    "instance head": [
        "instance_head.forward",
        "instance_head._detect_boxes",
        "instance_head.proposal_generator.forward",
        "instance_head.roi_heads.forward_with_given_boxes",
        "ins_embed_head.forward",
        "proposal_generator.forward",
        "roi_heads.forward",
    ],
    "decode": ["instance_head.inference"],
    "fusion": ["fusion.forward"],
    "other": ["forward", "inference"],
    "draw": [],
}
STAGES = tuple(_METHODS)


class Scopes:
    """Shares what a meter counts among nested scopes; the sum of all shares is the whole.

    The meter may be a clock or a counter of operations; its reading never falls.
    """

    def __init__(self, meter: Callable[[], float]) -> None:
        self.meter = meter
        self._totals: Dict[str, float] = {}
        self._open: List[str] = []
        self._last = 0.0

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """What is counted inside belongs to ``name``, but for scopes inside."""
        self._settle()
        self._open.append(name)
        try:
            yield
        finally:
            self._settle()
            self._open.pop()

    def wrap(self, owner: Any, method: str, name: str) -> None:
        """Make each call of a method of the object ``owner`` a scope."""
        original = getattr(owner, method)

        @functools.wraps(original)
        def scoped(*args: Any, **kwargs: Any) -> Any:
            with self.scope(name):
                return original(*args, **kwargs)

        setattr(owner, method, scoped)

    def take(self) -> Dict[str, float]:
        """The shares since the last call."""
        totals, self._totals = self._totals, {}
        return totals

    def _settle(self) -> None:
        now = self.meter()
        if self._open:
            name = self._open[-1]
            self._totals[name] = self._totals.get(name, 0.0) + now - self._last
        self._last = now


def clock(device: str) -> Callable[[], float]:
    """Seconds; waits for what a GPU has still to do."""

    def read() -> float:
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter()

    return read


def wrap_stages(scopes: Scopes, model: nn.Module) -> None:
    """Make a scope of every stage that ``model`` has."""
    modules = dict(model.named_modules(remove_duplicate=False))
    for stage, methods in _METHODS.items():
        for path, _, method in (name.rpartition(".") for name in methods):
            owner = modules.get(path)
            is_plain = stage == "neck" and not hasattr(owner, "bottom_up")
            if hasattr(owner, method):
                scopes.wrap(owner, method, "backbone" if is_plain else stage)
