"""Measurements of a call and of this process. Imports torch only where it has to count with it."""

import math
import statistics
import time
from typing import Any, Callable, NamedTuple, Optional, Sequence

import numpy as np

from effps_solo.utils.machine import peak_resident_memory


class Timed(NamedTuple):
    """The seconds of a call, by the clock and in all threads of this process, and what it returned."""

    wall: float
    process: float
    result: Any


def timed(call: Callable[[], Any]) -> Timed:
    """Measure one call, which has to wait for a GPU itself."""
    wall, process = time.perf_counter(), time.process_time()
    result = call()
    return Timed(time.perf_counter() - wall, time.process_time() - process, result)


def count_parameters(model: Any) -> int:
    """Numbers to learn in a torch module, each once."""
    return sum(p.numel() for p in model.parameters())


def count_macs(call: Callable[[], Any]) -> float:
    """Multiply-accumulates of the convolutions and matrix products of a call."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 2


def peak_memory(device: str = "cpu") -> int:
    """The most bytes that this process had resident; on a GPU, that it had allocated there."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated()
    return peak_resident_memory()


def percentile(values: Sequence[float], percent: float) -> float:
    """Of at least one value, interpolated between the two that are next to it."""
    return float(np.percentile(values, percent))


def fitted_exponent(x: Sequence[float], y: Sequence[float]) -> Optional[float]:
    """k of the least-squares fit y = a x^k in logarithms, over the pairs in which both are positive.

    None where fewer than two such x differ.
    """
    points = [(math.log(a), math.log(b)) for a, b in zip(x, y) if a > 0 and b > 0]
    if len({a for a, _ in points}) < 2:
        return None
    return statistics.linear_regression(*zip(*points)).slope
