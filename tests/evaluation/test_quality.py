"""Quality of classes, groups and images from counts, by hand."""

import csv
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict

import numpy as np
import pytest

from effps_solo.evaluation.quality import (
    COLUMNS,
    class_scores,
    group_scores,
    image_row,
    mean_pq,
    pq_by_class,
    write_rows,
)

CATEGORIES: Dict[int, Dict[str, Any]] = {
    0: {"isthing": 1},
    300: {"isthing": 0},
    7: {"isthing": 1},
}


def counts(tp: int = 0, fp: int = 0, fn: int = 0, iou: float = 0.0) -> Any:
    return SimpleNamespace(tp=tp, fp=fp, fn=fn, iou=iou)


STATISTICS = {0: counts(tp=2, fp=1, fn=1, iou=1.5), 300: counts(fn=1), 7: counts()}


def test_one_class() -> None:
    assert class_scores(STATISTICS[0]) == pytest.approx({"pq": 50.0, "sq": 75.0, "rq": 200 / 3})
    assert class_scores(STATISTICS[300]) == {"pq": 0.0, "sq": 0.0, "rq": 0.0}
    assert all(math.isnan(value) for value in class_scores(counts()).values())


def test_groups_hold_the_classes_that_occur() -> None:
    per_class = {key: class_scores(value) for key, value in STATISTICS.items()}
    assert group_scores(per_class, CATEGORIES, None)[1] == 2
    assert group_scores(per_class, CATEGORIES, None)[0]["pq"] == pytest.approx(25.0)
    assert group_scores(per_class, CATEGORIES, True)[0]["pq"] == pytest.approx(50.0)
    assert group_scores(per_class, CATEGORIES, False) == ({"pq": 0.0, "sq": 0.0, "rq": 0.0}, 1)
    nothing, number = group_scores({}, CATEGORIES, None)
    assert number == 0 and math.isnan(nothing["pq"])


def test_an_image() -> None:
    row = image_row(9, "a/b.jpg", STATISTICS, CATEGORIES)
    assert tuple(row) == COLUMNS
    assert (row["image_id"], row["file_name"]) == (9, "a/b.jpg")
    assert (row["PQ"], row["PQ_th"], row["PQ_st"]) == pytest.approx((25.0, 50.0, 0.0))
    assert (row["TP"], row["FP"], row["FN"]) == (2, 1, 2)


def test_the_worst_come_first_and_the_empty_last(tmp_path: Path) -> None:
    row = image_row(1, "good", STATISTICS, CATEGORIES)
    empty = image_row(2, "empty", {key: counts() for key in CATEGORIES}, CATEGORIES)
    rows = [empty, row, {**row, "PQ": 3.25, "file_name": "b,ad"}, {**row, "file_name": "also"}]
    path = tmp_path / "rows.csv"
    write_rows(rows, str(path))
    with open(path, newline="") as file:
        written = list(csv.DictReader(file))
    assert [w["file_name"] for w in written] == ["b,ad", "also", "good", "empty"]
    assert written[0]["PQ"] == "3.2500" and written[-1]["PQ"] == ""
    write_rows([], str(path))
    assert path.read_text().split() == [",".join(COLUMNS)]


def test_arrays_of_counts() -> None:
    """(..., 4) tp, fp, fn and iou; what does not occur is left out of means."""
    of_images = np.array([[[1, 2, 0, 0.8], [0, 0, 0, 0]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
    by_class = pq_by_class(of_images)
    np.testing.assert_allclose(by_class, [[40, np.nan], [np.nan, np.nan]])
    np.testing.assert_allclose(mean_pq(by_class), [40, np.nan])
    assert mean_pq(by_class[0]) == 40
