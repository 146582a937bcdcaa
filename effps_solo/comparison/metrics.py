"""What is measured, and which differences are more than chance. Pure functions.

The spread of a metric on a data set is the largest distance, max - min, between seeds of any one
method. A difference of means that is not greater says nothing about the methods.
"""

from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Sequence

Value = Optional[float]  # None: not measured, or undefined, such as PQ_th without things


@dataclass(frozen=True)
class Metric:
    """One column of the report.

    Attributes:
        key: in result.json.
        title: with the unit that it is shown in.
        scale: from the unit of result.json to the one shown.
        digits: decimals shown.
        of_machine: values of different machines cannot be compared.
    """

    key: str
    title: str
    scale: float = 1.0
    digits: int = 1
    of_machine: bool = False

    def text(self, value: Value, sign: str = "") -> str:
        """``value`` as shown; "-" for None. ``sign`` is "+" for differences."""
        return "-" if value is None else f"{value * self.scale:{sign}.{self.digits}f}"


SCORES = (
    *(Metric(key, key) for key in ("PQ", "PQ_th", "PQ_st")),
    Metric("Boundary_PQ", "Boundary PQ"),
    *(Metric(key, key) for key in ("AP", "AP75")),
)
COSTS = (
    Metric("parameters", "parameters, M", 1e-6, 2),
    Metric("macs", "GMAC", 1e-9, 1),
    Metric("training_seconds", "training, min", 1 / 60, of_machine=True),
    Metric("inference_seconds", "inference, ms", 1e3, 0, of_machine=True),
    Metric("peak_memory_bytes", "peak memory, MiB", 2**-20, 0, of_machine=True),
)
METRICS = SCORES + COSTS


def mean(values: Iterable[Value]) -> Value:
    """Of the values that there are; None without any."""
    known = _known(values)
    return sum(known) / len(known) if known else None


def spread(values_of_methods: Iterable[Sequence[Value]]) -> Value:
    """The largest max - min between the seeds of one method; None if none has two seeds."""
    known = [_known(values) for values in values_of_methods]
    return max((max(values) - min(values) for values in known if len(values) > 1), default=None)


def is_difference(first: Value, second: Value, spread: Value) -> Optional[bool]:
    """Whether two means differ by more than the spread; None if one of the three is not known."""
    if first is None or second is None or spread is None:
        return None
    return abs(first - second) > spread


def means_by_metric(results: Sequence[Mapping[str, Value]]) -> Dict[str, Value]:
    """Metric -> :func:`mean` over the seeds of a method."""
    return {metric.key: mean(result.get(metric.key) for result in results) for metric in METRICS}


def spread_by_metric(
    results_of_methods: Sequence[Sequence[Mapping[str, Value]]],
) -> Dict[str, Value]:
    """Metric -> :func:`spread` over the methods, each a list of the results of its seeds."""
    return {
        metric.key: spread([r.get(metric.key) for r in results] for results in results_of_methods)
        for metric in METRICS
    }


def _known(values: Iterable[Value]) -> List[float]:
    return [value for value in values if value is not None]
