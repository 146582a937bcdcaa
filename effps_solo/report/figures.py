"""The plots of a report as SVG."""

import io
import itertools
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from effps_solo.evaluation.thresholds import Tuning

from .statistics import ScoreBin

COLORS = ("#2f6fb7", "#d9822b")  # of the first and of the second run
_STYLES = ("-", "--")
# Of the curves of a plot; SOLOv2 and Mask R-CNN side by side have eight losses.
_PARTS = (
    *("#222222", "#2f6fb7", "#3f9b5f", "#d9822b", "#8a56b0"),
    *("#b5485d", "#4bb3b8", "#8c6d46", "#9a9a9a", "#c9a800"),
)
_SMOOTHING = 0.85  # of the exponential mean behind a curve


def svg_of_calibration(
    bins_of_runs: Mapping[str, Mapping[str, Sequence[ScoreBin]]],
) -> str:
    """Precision against score.

    Args:
        bins_of_runs: kind of class ("things", "stuff") -> name of the run -> its bins.
    """
    figure, panels = _figure(len(bins_of_runs), height=2.9)
    for axes, (kind, runs) in zip(panels, bins_of_runs.items()):
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle=":")
        for (name, bins), color in zip(runs.items(), COLORS):
            scores, precisions = [b.mean_score for b in bins], [b.precision for b in bins]
            largest = max((b.count for b in bins), default=1)
            sizes = [12 + 80 * b.count / largest for b in bins]
            axes.plot(scores, precisions, color=color, linewidth=1.2, label=name)
            axes.scatter(scores, precisions, s=sizes, color=color, alpha=0.7, linewidths=0)
        axes.set(title=kind, xlabel="score", ylabel="share that is right")
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
        if len(runs) > 1:
            axes.legend(frameon=False, fontsize=8)
    return _svg(figure)


def svg_of_training(histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Losses of the runs, and PQ where it was measured more than once; "" without a history.

    Args:
        histories: name of the run -> lines of metrics.json in the order of iterations.
    """
    losses = _curves(
        histories, lambda key: key in ("total_loss", _VALIDATION) or key.startswith("loss_")
    )
    quality = _curves(histories, lambda key: key in _QUALITY)
    if not losses:
        return ""
    has_quality = any(len(points) > 1 for points in quality.values())
    figure, panels = _figure(1 + has_quality, height=3.1)
    _draw_curves(panels[0], list(histories), losses, "loss", smooth=True)
    panels[0].set_yscale("log")
    panels[0].yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    for set_formatter in (panels[0].yaxis.set_major_formatter, panels[0].yaxis.set_minor_formatter):
        set_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if has_quality:
        _draw_curves(panels[1], list(histories), quality, "percent", smooth=False)
    return _svg(figure)


def svg_of_tuning(tuning: Tuning) -> str:
    """PQ along each threshold, with a line at the value of the config and at the chosen one."""
    figure, panels = _figure(len(tuning.curves), height=2.9)
    values = {key: pair for key, *pair in tuning.rows()}
    for axes, curve in zip(panels, tuning.curves):
        for name, pq, color in zip(
            ("all", "things", "stuff"), (curve.pq, curve.pq_things, curve.pq_stuff), _PARTS
        ):
            axes.plot(
                curve.values,
                np.array(pq, dtype=float),
                color=color,
                marker=".",
                linewidth=1.3,
                label=name,
            )
        for value, color in zip(values[curve.key], COLORS):
            axes.axvline(value, color=color, linewidth=1, linestyle=":")
        positive = [value for value in curve.values if value > 0]
        if max(positive) > 100 * min(positive):
            axes.set_xscale("symlog", linthresh=min(positive))
            axes.set_xlim(left=-min(positive) / 2)
        axes.set(title=curve.key, xlabel="threshold", ylabel="PQ")
        axes.legend(frameon=False, fontsize=7)
    return _svg(figure)


_VALIDATION = "validation/total_loss"
_QUALITY = {
    "panoptic_seg/PQ": "PQ",
    "panoptic_seg/PQ_th": "PQ things",
    "panoptic_seg/PQ_st": "PQ stuff",
}
Curves = Dict[Tuple[str, str], List[Tuple[float, float]]]  # (run, key) -> (iteration, value)


def _curves(histories: Mapping[str, Sequence[Mapping[str, Any]]], wanted: Any) -> Curves:
    curves: Curves = {}
    for name, history in histories.items():
        for line in history:
            for key, value in line.items():
                if wanted(key) and isinstance(value, (int, float)) and value == value:
                    curves.setdefault((name, key), []).append((line["iteration"], value))
    return curves


def _draw_curves(
    axes: Axes, names: Sequence[str], curves: Curves, title: str, smooth: bool
) -> None:
    keys = sorted({key for _, key in curves}, key=lambda key: (key != "total_loss", key))
    for name, style in zip(names, _STYLES):
        for key, color in zip(keys, itertools.cycle(_PARTS)):
            if (name, key) in curves:
                label = _QUALITY.get(key, key) + (f", {name}" if len(names) > 1 else "")
                x, values = zip(*curves[name, key])
                is_noisy = smooth and key != _VALIDATION  # of a mini-batch each
                y, marker = (_smoothed(values), "") if is_noisy else (values, ".")
                axes.plot(x, y, style, color=color, marker=marker, linewidth=1.3, label=label)
    axes.set(title=title, xlabel="iteration")
    axes.legend(frameon=False, fontsize=7)


def _smoothed(values: Sequence[float]) -> List[float]:
    """The exponential mean, not biased to the first value."""
    mean, weight, smoothed = 0.0, 0.0, []
    for value in values:
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * value
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        smoothed.append(mean / weight)
    return smoothed


def _figure(num_panels: int, height: float) -> Tuple[Figure, List[Axes]]:
    figure = Figure(figsize=(4.6 * max(num_panels, 1), height), layout="constrained")
    FigureCanvasSVG(figure)
    panels = list(figure.subplots(1, max(num_panels, 1), squeeze=False)[0])
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25, linewidth=0.6)
    return figure, panels


def _svg(figure: Figure) -> str:
    """The element alone; text stays text, and equal input gives equal bytes."""
    output = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        figure.savefig(output, format="svg", metadata={"Date": None, "Creator": None})
    text = output.getvalue()
    return text[text.index("<svg") :]
