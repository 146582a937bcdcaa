"""The card of a model folder: what a person should know before using it, in Markdown."""

import math
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from detectron2.config import CfgNode

from effps_solo.structures.classes import PanopticClass, list_of_classes
from effps_solo.utils.version import __version__

NO_LICENCE = "not stated: ask whoever made it"
_TASKS = ("panoptic_seg", "sem_seg", "segm")
_PANOPTIC = ("PQ", "SQ", "RQ")
_GROUPS = (("all", ""), ("things", "_th"), ("stuff", "_st"))
_OTHERS = (("mIoU", "sem_seg", "mIoU"), ("AP of masks", "segm", "AP"))


def thresholds_of(cfg: CfgNode) -> Dict[str, float]:
    """Those of the panoptic map by their keys below ``MODEL.PANOPTIC_FUSION``."""
    node = cfg.MODEL.PANOPTIC_FUSION
    keys = ("SCORE_THRESH", "OVERLAP_THRESH", "STUFF_AREA_FRACTION")
    return {key: float(node[key]) for key in keys}


def evaluation_of(cfg: CfgNode, results: Mapping[str, Any]) -> Dict[str, Any]:
    """What a card says about the quality, in plain values: {"results", "thresholds"}.

    Args:
        cfg: of the evaluation.
        results: task -> metric -> percent, by data set if there are several, as the trainer's ``test``
            gives them.
    """
    names = cfg.DATASETS.TEST
    by_name = {names[0]: results} if len(names) == 1 else {name: results[name] for name in names}
    known = {
        name: {
            task: {metric: float(value) for metric, value in metrics.items()}
            for task, metrics in tasks.items()
            if task in _TASKS
        }
        for name, tasks in by_name.items()
    }
    return {"results": known, "thresholds": thresholds_of(cfg)}


def model_card(
    cfg: CfgNode,
    classes: Sequence[PanopticClass],
    *,
    num_parameters: int,
    origin: str,
    num_images: Optional[int] = None,
    evaluation: Optional[Mapping[str, Any]] = None,
    licence: str = "",
) -> str:
    """
    Args:
        cfg: of the training, with the thresholds of the folder.
        classes: by contiguous id.
        origin: of the weights, for people.
        num_images: of the training; None: unknown.
        evaluation: see :func:`evaluation_of`; None: there was none of these weights.
        licence: of the weights; "": not stated.
    """
    images = "" if num_images is None else f", {num_images} images"
    rows = [
        ("network", f"{_network(cfg)}; {num_parameters / 1e6:.1f} million parameters"),
        ("trained on", f"{', '.join(cfg.DATASETS.TRAIN) or 'unknown data'}{images}"),
        ("classes", list_of_classes(classes)),
        ("trained for images of", _sizes(cfg)),
        ("weights", origin),
        ("thresholds", _listed(thresholds_of(cfg))),
        ("licence", licence or NO_LICENCE),
        ("made by", f"effps_solo {__version__}"),
    ]
    lines = [
        f"# A panoptic model of {', '.join(cfg.DATASETS.TRAIN) or 'unknown data'}",
        "",
        *_table(("", ""), rows),
        "",
        "## Quality",
        "",
        *_quality(evaluation),
        "## Use",
        "",
        "```python",
        "from effps_solo import load",
        'model = load("model")  # this folder; the data of the training are not needed',
        'model("photo.jpg").save("results")',
        "```",
        "",
        "On the command line `effps-solo predict --model model --input photo.jpg`. A training with these "
        "classes or others starts from it with `MODEL.WEIGHTS model`.",
        "",
    ]
    return "\n".join(lines)


def _network(cfg: CfgNode) -> str:
    model = cfg.MODEL
    backbone = model.BACKBONE.NAME
    if "efficientnet" in backbone:
        backbone = model.EFFICIENTNET.NAME
    heads = [model.INSTANCE_HEAD.NAME, model.SEM_SEG_HEAD.NAME or "no semantic head"]
    return ", ".join([model.META_ARCHITECTURE, backbone, *heads])


def _sizes(cfg: CfgNode) -> str:
    node = cfg.INPUT
    if node.AUGMENTATION == "shortest_edge":
        edges = ", ".join(map(str, node.MIN_SIZE_TRAIN))
        return f"a shorter edge of {edges} pixels; in use of {node.MIN_SIZE_TEST}"
    height, width = node.CROP_SIZE
    low, high = node.SCALE_RANGE
    edge = node.BASE_SHORTEST_EDGE
    seen = f"with a shorter edge of {edge} pixels" if edge else "in their own size"
    return (
        f"any size, {seen} times {low:g} to {high:g}, in crops of {height}x{width} pixels (height x width); "
        f"in use whole images {seen} times {node.TEST_SCALE:g}"
    )


def _quality(evaluation: Optional[Mapping[str, Any]]) -> List[str]:
    if not evaluation or not any(evaluation["results"].values()):
        return ["These weights were not evaluated: `effps-solo evaluate` does.", ""]
    lines = []
    for name, tasks in evaluation["results"].items():
        lines += [f"On {name}, in percent:", ""]
        panoptic = tasks.get("panoptic_seg", {})
        rows: List[Sequence[str]] = [
            (title, *(_number(panoptic.get(f"{key}{suffix}")) for key in _PANOPTIC))
            for title, suffix in _GROUPS
            if panoptic
        ]
        rows += [
            (metric.partition("-")[2], _number(value), "", "")
            for metric, value in panoptic.items()
            if metric.startswith("PQ-")
        ]
        lines += [*_table(("", *_PANOPTIC), rows), ""] if rows else []
        others = [
            f"{title} {_number(tasks[task].get(metric))}"
            for title, task, metric in _OTHERS
            if task in tasks
        ]
        lines += [f"{', '.join(others)}.", ""] if others else []
    return [*lines, f"Measured with {_listed(evaluation['thresholds'])}.", ""]


def _listed(thresholds: Mapping[str, float]) -> str:
    return ", ".join(f"{key} {value:.6g}" for key, value in thresholds.items())


def _number(value: Optional[float]) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.1f}"


def _table(head: Tuple[str, ...], rows: Sequence[Sequence[str]]) -> List[str]:
    lines = [head, ("---",) * len(head), *rows]
    return [f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines]
