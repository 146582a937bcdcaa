#!/usr/bin/env python3
"""Draw the figures of docs/how-it-works.md with the shipped model and a generated street scene.

make scenes && python tools/draw_figures.py --output docs/images/
"""

import argparse
import math
import os
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.structures import Instances
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from effps_solo.config import load_config
from effps_solo.evaluation.oracle import OracleMapper, OracleModel
from effps_solo.inference.load import SHIPPED_MODEL
from effps_solo.inference.predictor import Predictor, paste_things
from effps_solo.modeling.instance_head.solov2.output import cell_scores
from effps_solo.modeling.instance_head.solov2.targets import IGNORED, assign_to_grid
from effps_solo.modeling.upsampling import STRIDE
from effps_solo.visualization.overlay import panoptic_overlay

DPI = 100
JPEG = {"quality": 85, "optimize": True}
NUM_OBJECTS = 3  # whose masks are drawn
Picture = Tuple[str, np.ndarray]


def main() -> None:
    """Read the command line, write three pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", required=True, type=Path, help="folder")
    parser.add_argument("--index", type=int, default=75, help="which image of the validation set")
    args = parser.parse_args()
    words = ["MODEL.WEIGHTS", os.fspath(SHIPPED_MODEL)]
    cfg = load_config(os.fspath(SHIPPED_MODEL / "config.yaml"), words)
    record = DatasetCatalog.get(cfg.DATASETS.TEST[0])[args.index]
    sample = OracleMapper(cfg)(record)
    args.output.mkdir(parents=True, exist_ok=True)
    draw_grids(cfg, sample).savefig(args.output / "grids.jpg", pil_kwargs=JPEG)
    predictor = Predictor(cfg)
    with torch.inference_mode():
        draw_masks(predictor, sample).savefig(args.output / "masks.jpg", pil_kwargs=JPEG)
        draw_fusion(predictor, sample).savefig(args.output / "fusion.jpg", pil_kwargs=JPEG)


def draw_grids(cfg: CfgNode, sample: Dict[str, Any]) -> Figure:
    """For each level of the pyramid: its grid, its objects, and the cells that learn them."""
    image, grid = _pixels(sample), OracleModel(cfg).grid
    assert grid is not None, "the figures are of SOLOv2"
    height, width = image.shape[:2]
    truth: Instances = sample["instances"]
    targets = assign_to_grid(
        truth.gt_centers,
        truth.gt_boxes.tensor,
        truth.gt_areas,
        truth.gt_classes,
        padded_size=(height, width),
        **grid,
    )
    background, num_grids = grid["num_classes"], grid["num_grids"]
    learned = (targets.category != background) & (targets.category != IGNORED)
    owner = torch.full_like(targets.category, -1)
    owner[targets.cell_index] = targets.instance_index
    figure, panels = _figure(math.ceil(len(num_grids) / 2), 2, image)
    for axes in panels[len(num_grids) :]:
        axes.imshow(image, aspect="auto")
        axes.set_title("the image", fontsize=9)
    sizes = [h * w for h, w in num_grids]
    levels = zip(panels, num_grids, grid["scale_ranges"], learned.split(sizes), owner.split(sizes))
    for axes, (rows, columns), (low, high), cells, owners in levels:
        shown = image // 2 + 100
        for k in owners[cells].unique().tolist():
            shown[(sample["objects"] == k + 1).numpy()] = _color(k)
        axes.imshow(shown, extent=(0, columns, rows, 0), aspect="auto")
        for y, x in cells.reshape(rows, columns).nonzero().tolist():
            axes.add_patch(_square(x, y))
        axes.hlines(range(rows + 1), 0, columns, color="white", linewidth=0.3, alpha=0.6)
        axes.vlines(range(columns + 1), 0, rows, color="white", linewidth=0.3, alpha=0.6)
        sizes_text = f"of {low:g} to {high:g} pixels" if high < width else f"from {low:g} pixels"
        axes.set_title(f"{rows} x {columns} cells: objects {sizes_text}", fontsize=9)
    return figure


def draw_masks(predictor: Predictor, sample: Dict[str, Any]) -> Figure:
    """Of the best objects: the cell's Gaussian, its kernel times the features, and the mask."""
    model, image = predictor.model, _pixels(sample)
    head = model.instance_head
    images = model._preprocess([{"image": sample["image"]}])
    output = head(model.backbone(images.tensor), head.test_cells)
    masks = head.masks(output, head.test_cells)
    cells = _best_cells(cell_scores(output, head.test_cells)[0], masks)
    figure, panels = _figure(NUM_OBJECTS, 3, image)
    for row, cell in enumerate(cells):
        logits = masks.of(cell[None]).logits()[0]
        dynamic = masks.features @ masks.kernels[cell, : masks.features.shape[2]]
        for axes, (title, values) in zip(
            panels[3 * row :],
            (
                ("Gaussian around the cell", logits - dynamic),
                ("kernel times mask features", dynamic),
                ("their sum; above 0 is the mask", logits),
            ),
        ):
            _show_logits(axes, values)
            x, y = (masks.centers[cell] / STRIDE).tolist()
            axes.plot(x, y, "+", color="black", markersize=8, markeredgewidth=1.6)
            axes.set_title(title, fontsize=9)
        panels[3 * row + 2].contour(logits.numpy(), levels=[0], colors="black", linewidths=0.8)
    return figure


def draw_fusion(predictor: Predictor, sample: Dict[str, Any]) -> Figure:
    """What each head says, and what the fusion makes of it."""
    image = _pixels(sample)
    if predictor.image_format == "BGR":
        output = predictor(image[..., ::-1])
    else:
        output = predictor(image)
    semantic = output["sem_seg"].argmax(dim=0).numpy() + 1
    classes = predictor.classes
    stuff = [{"id": k + 1, "category_id": k, "isthing": False} for k in range(len(classes))]
    things = paste_things(output["instances"], predictor.confidence_threshold, 1.0)
    panoptic = output["panoptic_seg"]
    shown: List[Picture] = [
        ("semantic head: a class for each pixel", _overlay(image, semantic, stuff, classes)),
        ("SOLOv2 head: objects", _overlay(image, things[0].numpy(), things[1], classes)),
        ("fusion: every pixel once", _overlay(image, panoptic[0].numpy(), panoptic[1], classes)),
    ]
    figure, panels = _figure(1, len(shown), image)
    for axes, (title, picture) in zip(panels, shown):
        axes.imshow(picture)
        axes.set_title(title, fontsize=9)
    return figure


def _best_cells(scores: torch.Tensor, masks: Any) -> torch.Tensor:
    """(NUM_OBJECTS,) cells of the highest scores whose masks have hardly a pixel in common."""
    chosen: List[int] = []
    taken = torch.zeros(masks.size, dtype=torch.bool)
    for cell in scores.amax(dim=1).argsort(descending=True).tolist():
        mask = masks.of(torch.tensor([cell])).logits()[0] > 0
        if mask.sum() and (mask & taken).sum() < 0.1 * mask.sum():
            chosen.append(cell)
            taken |= mask
        if len(chosen) == NUM_OBJECTS:
            break
    return torch.tensor(chosen)


def _show_logits(axes: Axes, logits: torch.Tensor) -> None:
    axes.imshow(logits.numpy(), cmap="RdBu_r", vmin=-12, vmax=12)


def _overlay(
    image: np.ndarray, ids: np.ndarray, segments: Sequence[Dict[str, Any]], classes: Any
) -> np.ndarray:
    return panoptic_overlay(image, ids, segments, classes, opacity=0.65)


def _pixels(sample: Dict[str, Any]) -> np.ndarray:
    """(H, W, 3) uint8 of the network's input."""
    pixels: np.ndarray = sample["image"].permute(1, 2, 0).numpy()
    return np.ascontiguousarray(pixels)


def _color(number: int) -> np.ndarray:
    color: np.ndarray = np.random.default_rng(number).integers(40, 230, 3).astype(np.uint8)
    return color


def _square(x: int, y: int) -> Rectangle:
    return Rectangle((x, y), 1, 1, facecolor="none", edgecolor="yellow", linewidth=1.2)


def _figure(rows: int, columns: int, image: np.ndarray) -> Tuple[Figure, List[Axes]]:
    height, width = image.shape[:2]
    inches = 10.5 / columns
    figure = Figure(figsize=(inches * columns, rows * (inches * height / width + 0.28)), dpi=DPI)
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, columns, squeeze=False).flatten())
    for axes in panels:
        axes.set_xticks([])
        axes.set_yticks([])
    figure.subplots_adjust(
        left=0.004, right=0.996, bottom=0.01, top=1 - 0.25 / figure.get_figheight()
    )
    figure.subplots_adjust(wspace=0.02, hspace=0.14)
    return figure, panels


if __name__ == "__main__":
    main()
