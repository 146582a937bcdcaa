"""Classes and sizes of a data set as a picture."""

from pathlib import Path
from typing import Any, List, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from effps_solo.data.geometry import MASK_STRIDE

from .run import CheckedDataset
from .statistics import ClassCount

_BAR_INCHES = 0.15  # height of the bar of one class in one data set
_LOWER_INCHES = 3.2  # height of the lower row
_DPI = 110
_LEAST_SHARE = 0.001  # %


def draw_histograms(checked: Sequence[CheckedDataset], path: Path) -> None:
    """Write a PNG: pixels and images of every class, sizes of things, things in an image.

    Sizes are sqrt(width * height) of boxes, the measure of MODEL.SOLOV2.SCALE_RANGES.
    """
    classes = max((d.plan.classes for d in checked), key=len, default={})
    upper = 1.5 + _BAR_INCHES * len(classes) * (len(checked) + 0.5)
    figure = Figure(figsize=(14, upper + _LOWER_INCHES), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, height_ratios=(upper, _LOWER_INCHES))
    axes = [figure.add_subplot(grid[i // 2, i % 2]) for i in range(4)]
    ids = list(classes)
    names = [f"{c.name}{' (thing)' if c.is_thing else ''}" for c in classes.values()]
    counts = [[d.statistics.classes.get(i, ClassCount()) for i in ids] for d in checked]
    pixels = [np.array([c.num_pixels for c in own]) for own in counts]
    images = [np.array([c.num_images for c in own]) for own in counts]
    totals = [d.statistics.num_images for d in checked]
    _draw_bars(axes[0], checked, names, [100 * p / max(p.sum(), 1) for p in pixels])
    _draw_bars(axes[1], checked, names, [100 * p / max(n, 1) for p, n in zip(images, totals)])
    axes[0].set_title("labelled pixels, % (logarithmic)", fontsize=10)
    axes[1].set_title("images that show the class, %", fontsize=10)
    axes[0].set_xscale("log")
    axes[0].set_xlim(_LEAST_SHARE, 1000)  # with room for the numbers behind the bars
    axes[0].xaxis.set_major_formatter("{x:g}")
    axes[1].set_xlim(0, 112)
    _draw_sizes(axes[2], checked)
    _draw_objects_per_image(axes[3], checked)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.savefig(path)


def _draw_bars(
    axes: Axes, checked: Sequence[CheckedDataset], names: List[str], shares: List[np.ndarray]
) -> None:
    position, thickness = np.arange(len(names)), 0.84 / max(len(checked), 1)
    for k, (dataset, values) in enumerate(zip(checked, shares)):
        offset = position - 0.42 + (k + 0.5) * thickness
        bars = axes.barh(offset, np.maximum(values, _LEAST_SHARE), thickness, label=dataset.name)
        axes.bar_label(bars, [f"{value:.3g}" for value in values], fontsize=6, padding=2)
    axes.set_yticks(position, names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)  # the first class on top
    axes.grid(axis="x", alpha=0.3)


def _draw_sizes(axes: Axes, checked: Sequence[CheckedDataset]) -> None:
    sides = [np.asarray(dataset.statistics.object_sides) for dataset in checked]
    largest = max((s.max() for s in sides if len(s)), default=2.0)
    edges = 2.0 ** np.arange(0, np.ceil(np.log2(max(largest, 2.0))) + 0.5, 0.5)
    for dataset, values in zip(checked, sides):
        _draw_steps(axes, values, edges, f"{dataset.name}: {len(values)} things")
    axes.axvline(MASK_STRIDE, color="black", linestyle=":", label="stride of the masks")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_title("size of things, sqrt(w h) in pixels of the image; % of things", fontsize=10)
    _finish(axes)


def _draw_objects_per_image(axes: Axes, checked: Sequence[CheckedDataset]) -> None:
    counts = [np.asarray(dataset.statistics.objects_per_image) for dataset in checked]
    largest = max((int(c.max()) for c in counts if len(c)), default=0)
    step = max(1, -(-(largest + 1) // 40))
    edges = np.arange(0, largest + 1 + step, step) - 0.5
    for dataset, values in zip(checked, counts):
        most = int(values.max()) if len(values) else 0
        _draw_steps(axes, values, edges, f"{dataset.name}: at most {most}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title("things in an image; % of images", fontsize=10)
    _finish(axes)


def _draw_steps(axes: Axes, values: np.ndarray, edges: Any, label: str) -> None:
    shares = np.histogram(values, edges)[0] * 100 / max(len(values), 1)
    axes.stairs(shares, edges, label=label, linewidth=1.8)


def _finish(axes: Axes) -> None:
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
