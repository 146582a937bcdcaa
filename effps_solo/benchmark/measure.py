"""Measurements of a call and of this process. Imports torch only where it has to count with it."""

import math
import resource
import sys
import time
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional, Sequence

_PROC_STATUS = Path("/proc/self/status")


class Seconds(NamedTuple):
    """How long a call took: by the clock, and of processor time in all threads of this process."""

    wall: float
    process: float


def timed(call: Callable[[], Any]) -> Seconds:
    """The seconds of one call, which has to wait for a GPU itself."""
    wall, process = time.perf_counter(), time.process_time()
    call()
    return Seconds(time.perf_counter() - wall, time.process_time() - process)


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
    # Linux counts the parent that started this program into ru_maxrss, but not into VmHWM.
    peak = _proc_status("VmHWM")
    if peak is not None:
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _proc_status(field: str) -> Optional[int]:
    """Bytes of a line of /proc/self/status; None where there is none."""
    try:
        lines = _PROC_STATUS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return None


def percentile(values: Sequence[float], percent: float) -> float:
    """Of at least one value, interpolated between the two that are next to it."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def fitted_exponent(x: Sequence[float], y: Sequence[float]) -> Optional[float]:
    """k of the least-squares fit y = a x^k in logarithms, over the pairs in which both are positive.

    None where fewer than two such x differ.
    """
    points = [(math.log(a), math.log(b)) for a, b in zip(x, y) if a > 0 and b > 0]
    if len({a for a, _ in points}) < 2:
        return None
    mean_x = sum(a for a, _ in points) / len(points)
    mean_y = sum(b for _, b in points) / len(points)
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in points)
    return covariance / sum((a - mean_x) ** 2 for a, _ in points)
