"""The results of a benchmark as a picture: one row for each size, stages on the left, backends right."""

from pathlib import Path
from typing import Any, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .runner import BACKENDS, Summary, stages_of, title_of

_OWN, _BASELINE, _LIMIT = "#3b6fb6", "#8a8a8a", "#c0504d"
_BAR_INCHES, _WIDTH_INCHES, _DPI = 0.3, 11.0, 110
_ROOM_FOR_NUMBERS = 1.3  # of the longest bar


def draw_benchmark(summary: Summary, path: Path) -> None:
    """Write a PNG of what :func:`effps_solo.benchmark.runner.run_benchmark` returned."""
    sizes = summary["sizes"]
    bars = [max(len(each["rows"]), len(stages_of(each["rows"])), 4) for each in sizes]
    heights = [_BAR_INCHES * count + 1.0 for count in bars]
    figure = Figure((_WIDTH_INCHES, sum(heights) + 0.3), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(sizes), 2, squeeze=False, height_ratios=heights)
    for (left, right), measured in zip(panels, sizes):
        _draw_stages(left, measured)
        _draw_backends(right, measured)
    machine = summary["machine"]
    figure.suptitle(
        f"{summary['config']} on {machine['model']}, threads: {machine['threads']}", fontsize=10
    )
    figure.savefig(path)


def _draw_stages(axes: Axes, measured: Summary) -> None:
    """The stages of the first backend that has them."""
    own = [r for r in measured["rows"] if r.get("stages") and r["name"] in BACKENDS]
    title = f"{measured['size'][0]}x{measured['size'][1]}: stages"
    if not own:
        axes.set_title(f"{title} not measured", fontsize=9)
        axes.set_axis_off()
        return
    row = own[0]
    names = stages_of([row])
    seconds = [row["stages"][name] for name in names]
    texts = [f"{s * 1e3:.1f} ms, {100 * s / sum(seconds):.0f} %" for s in seconds]
    _bars(axes, names, [s * 1e3 for s in seconds], texts, _OWN)
    axes.set_title(f"{title} of {title_of(row)}, median ms", fontsize=9)


def _draw_backends(axes: Axes, measured: Summary) -> None:
    rows = [row for row in measured["rows"] if "error" not in row]
    size = f"{measured['size'][0]}x{measured['size'][1]}"
    if not rows:
        axes.set_title(f"{size}: no backend measured", fontsize=9)
        axes.set_axis_off()
        return
    names = [title_of(row) for row in rows]
    milliseconds = [row["p50_seconds"] * 1e3 for row in rows]
    texts = [f"{ms:.0f} ms" for ms in milliseconds]
    colors = [_OWN if row["name"] in BACKENDS else _BASELINE for row in rows]
    _bars(axes, names, milliseconds, texts, colors)
    for number, (name, rate) in enumerate(measured["limits"].items()):
        if rate:
            limit = measured["macs"] / rate * 1e3
            axes.axvline(limit, color=_LIMIT, linewidth=1, linestyle="--")
            axes.annotate(
                f"limit, {name}",
                (limit, 0),
                (3, 2 + 8 * number),  # one above the other, however near they are
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                fontsize=7,
                color=_LIMIT,
            )
    axes.set_title(f"{size}: backends, median ms from pixels to panoptic map", fontsize=9)


def _bars(
    axes: Axes, names: Sequence[str], lengths: Sequence[float], texts: Sequence[str], color: Any
) -> None:
    bars = axes.barh(range(len(names)), lengths, 0.7, color=color, alpha=0.8)
    axes.bar_label(bars, texts, padding=4, fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, max(lengths) * _ROOM_FOR_NUMBERS)
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
