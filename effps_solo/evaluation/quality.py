"""Panoptic quality from counts: of a class, of groups of classes, of single images.

The counts are panopticapi's ``PQStat``: tp, fp, fn and the sum of the matched IoUs of every class.
"""

import csv
import math
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

import numpy as np

Scores = Dict[str, float]
Categories = Mapping[int, Mapping[str, Any]]  # by dataset id, with "isthing"

MEASURES = ("pq", "sq", "rq")
TITLES = {
    **{key: key.upper() for key in MEASURES},
    "boundary_pq": "Boundary PQ",
    "boundary_iou": "Boundary IoU",
}
# Title, suffix of the keys, and which classes: things, stuff or all.
GROUPS: Tuple[Tuple[str, str, Optional[bool]], ...] = (
    ("All", "", None),
    ("Things", "_th", True),
    ("Stuff", "_st", False),
)
COLUMNS = ("image_id", "file_name", "PQ", "SQ", "RQ", "PQ_th", "PQ_st", "TP", "FP", "FN")


def class_scores(counts: Any) -> Scores:
    """PQ, SQ and RQ of one class in percent; nan when it does not occur."""
    tp, fp, fn = counts.tp, counts.fp, counts.fn
    if tp + fp + fn == 0:
        return dict.fromkeys(MEASURES, math.nan)
    recognition = tp / (tp + 0.5 * fp + 0.5 * fn)
    segmentation = counts.iou / tp if tp else 0.0
    return {
        "pq": 100 * float(segmentation * recognition),
        "sq": 100 * float(segmentation),
        "rq": 100 * float(recognition),
    }


def group_scores(
    per_class: Mapping[int, Scores], categories: Categories, isthing: Optional[bool]
) -> Tuple[Scores, int]:
    """Means over the classes of a group that occur, nan if none does, and their number.

    Args:
        per_class: scores of the same names for every class, among them "pq".
    """
    names = list(next(iter(per_class.values()), MEASURES))
    present = [
        scores
        for key, scores in per_class.items()
        if isthing is None or bool(categories[key]["isthing"]) == isthing
        if not math.isnan(scores["pq"])
    ]
    if not present:
        return dict.fromkeys(names, math.nan), 0
    means = {key: sum(scores[key] for scores in present) / len(present) for key in names}
    return means, len(present)


def pq_by_class(counts: np.ndarray) -> np.ndarray:
    """(..., 4) tp, fp, fn and iou -> (...) PQ in percent; nan where a class is absent."""
    tp, fp, fn, iou = np.moveaxis(counts, -1, 0)
    present = tp + fp + fn
    return np.where(present > 0, 100 * iou / np.maximum(tp + 0.5 * fp + 0.5 * fn, 0.5), np.nan)


def mean_pq(values: np.ndarray) -> np.ndarray:
    """(..., C) -> (...) means over the classes that leave out nan; nan where there is nothing else."""
    known = ~np.isnan(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def image_row(
    image_id: Any, file_name: str, statistics: Any, categories: Categories
) -> Dict[str, Any]:
    """The quality of one image, its ``COLUMNS``: means over the classes that it holds, in percent."""
    per_class = {key: class_scores(statistics[key]) for key in categories}
    row: Dict[str, Any] = {"image_id": image_id, "file_name": file_name}
    for _, suffix, isthing in GROUPS:
        scores, _ = group_scores(per_class, categories, isthing)
        row.update({f"{key.upper()}{suffix}": scores[key] for key in MEASURES})
    for count in ("tp", "fp", "fn"):
        row[count.upper()] = sum(getattr(statistics[key], count) for key in categories)
    return {column: row[column] for column in COLUMNS}


def write_rows(rows: Sequence[Dict[str, Any]], path: str) -> None:
    """A CSV of images, worst PQ first; images without any segment come last."""

    def order(row: Dict[str, Any]) -> Tuple[float, str]:
        return (math.inf if math.isnan(row["PQ"]) else row["PQ"], row["file_name"])

    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in sorted(rows, key=order):
            writer.writerow({key: _as_text(value) for key, value in row.items()})


def _as_text(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.4f}"
