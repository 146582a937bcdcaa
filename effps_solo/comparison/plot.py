"""The results of a comparison as a picture: one row for each data set, one panel for each metric."""

import itertools
from pathlib import Path
from typing import Any, Dict, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .metrics import METRICS, Metric

_COLORS = ("#3b6fb6", "#e08a2e", "#5aa469", "#a45ab0", "#8a8a8a", "#c0504d")
_BAR_INCHES, _PANEL_INCHES, _DPI = 0.32, 1.75, 110
_ROOM_FOR_NUMBERS = 1.45  # of the longest bar
_LEGEND = (
    "bars: means over the seeds   dots: seeds   "
    "whiskers: the spread between seeds; where those of two methods overlap, there is no difference"
)


def draw_comparison(summary: Dict[str, Any], methods: Sequence[str], path: Path) -> None:
    """Write a PNG of bars. Whiskers reach half a spread to both sides of a mean, so that those of two
    methods overlap exactly where their difference is not greater than the spread.

    Args:
        summary: of :func:`effps_solo.comparison.report.summarize`; one data set has a result.
        methods: in the order of their colours.
    """
    colors = dict(zip(methods, itertools.cycle(_COLORS)))
    shown = {name: d for name, d in summary["data_sets"].items() if d["methods"]}
    height = _BAR_INCHES * max(len(methods), 3) + 0.75
    size = (_PANEL_INCHES * len(METRICS), height * len(shown) + 0.6)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(shown), len(METRICS), squeeze=False)
    for row, (name, data_set) in zip(panels, shown.items()):
        row[0].set_ylabel(name, fontsize=9, fontweight="bold")
        for axes, metric in zip(row, METRICS):
            _draw_panel(axes, metric, data_set, colors)
    handles = [Patch(color=color, label=method) for method, color in colors.items()]
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=len(methods),
        title=_LEGEND,
        title_fontsize=9,
        frameon=False,
    )
    figure.savefig(path)


def _draw_panel(
    axes: Axes, metric: Metric, data_set: Dict[str, Any], colors: Mapping[str, str]
) -> None:
    longest = 0.0
    for k, (method, color) in enumerate(colors.items()):
        results = data_set["methods"].get(method)
        mean = results["mean"][metric.key] if results else None
        if mean is None:
            text = " no value" if results else " no result"
            axes.text(0, k, text, fontsize=7, color="grey", va="center")
            continue
        seeds = [r[metric.key] for r in results["seeds"].values() if r.get(metric.key) is not None]
        half_spread = ((data_set["spread"] or {}).get(metric.key) or 0.0) / 2
        end = metric.scale * max(mean + half_spread, *seeds)
        axes.barh(k, metric.scale * mean, 0.76, color=color, alpha=0.75)
        if half_spread:
            x, dx = metric.scale * mean, metric.scale * half_spread
            axes.errorbar(x, k - 0.14, xerr=dx, color="black", capsize=3, linewidth=1)
        if len(seeds) > 1:
            dots = [metric.scale * seed for seed in seeds]
            axes.plot(dots, [k + 0.2] * len(dots), ".", markersize=4, color="black")
        number = metric.text(mean)
        axes.annotate(number, (end, k), (5, 0), textcoords="offset points", va="center", fontsize=8)
        longest = max(longest, end)
    axes.set_title(metric.title, fontsize=9)
    axes.set_xlim(0, longest * _ROOM_FOR_NUMBERS or 1)
    axes.set_ylim(len(colors) - 0.5, -0.5)
    axes.set_yticks([])
    axes.tick_params(axis="x", labelsize=7, labelbottom=longest > 0)
    axes.spines[["top", "right"]].set_visible(False)
