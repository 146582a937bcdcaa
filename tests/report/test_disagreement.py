"""Label and prediction of small images, compared by hand."""

import csv
import io
import math
from typing import Any, Dict, List, Sequence

import numpy as np
import pytest

from effps_solo.inference.result import PanopticResult
from effps_solo.report.disagreement import (
    Disagreement,
    as_csv,
    compare,
    differing_pixels,
    worst_first,
)
from effps_solo.structures.classes import PanopticClass

CLASSES = (
    PanopticClass("road", False, 7, (128, 64, 128)),
    PanopticClass("car", True, 26, (0, 0, 142)),
    PanopticClass("bus", True, 28, (0, 60, 100)),
)
ROAD, CAR, BUS = range(3)
# 9 is listed nowhere, so void.
LABEL = np.array([[1, 1, 2, 2], [1, 1, 2, 2], [1, 1, 0, 9]])
LABEL_INFO = [
    {"id": 1, "category_id": ROAD, "iscrowd": 0},
    {"id": 2, "category_id": CAR, "iscrowd": 0},
]


def prediction(ids: Sequence[Sequence[int]], *classes: int) -> PanopticResult:
    """The class of segment k is the k-th."""
    info = [
        {"id": k, "category_id": c, "isthing": CLASSES[c].isthing, "score": 0.5}
        for k, c in enumerate(classes, 1)
    ]
    shape = np.shape(ids)
    return PanopticResult.from_prediction(
        np.zeros((*shape, 3), np.uint8), np.array(ids), info, CLASSES
    )


def test_pixels_of_another_class() -> None:
    """The bus, and what the prediction leaves void; void of the label does not count."""
    result = prediction([[1, 1, 2, 2], [1, 1, 2, 2], [1, 0, 2, 2]], ROAD, BUS)
    differ = differing_pixels(LABEL, LABEL_INFO, result)
    assert differ.tolist() == [
        [False, False, True, True],
        [False, False, True, True],
        [False, True, False, False],
    ]
    found = compare("a.png", LABEL, LABEL_INFO, result)
    assert found == Disagreement("a.png", 100 * 5 / 10, "car", "bus", missed=1, false=1)


def test_void_in_the_prediction_has_a_name() -> None:
    found = compare("a", LABEL, LABEL_INFO, prediction([[1, 1, 0, 0]] * 3, ROAD))
    assert (found.labelled, found.predicted, found.missed, found.false) == ("car", "void", 1, 0)


def test_two_objects_where_the_label_has_one() -> None:
    result = prediction([[1, 1, 2, 3], [1, 1, 2, 3], [1, 1, 0, 0]], ROAD, CAR, CAR)
    found = compare("a", LABEL, LABEL_INFO, result)
    assert (found.differing, found.labelled, found.missed, found.false) == (0, "", 1, 2)


def test_an_object_over_void_is_not_false() -> None:
    result = prediction([[1, 1, 2, 2], [1, 1, 2, 2], [1, 1, 3, 3]], ROAD, CAR, CAR)
    found = compare("a", LABEL, LABEL_INFO, result)
    assert (found.differing, found.missed, found.false) == (0, 0, 0)


def test_a_crowd_of_the_class_is_right() -> None:
    crowd: List[Dict[str, Any]] = [LABEL_INFO[0], {**LABEL_INFO[1], "iscrowd": 1}]
    result = prediction([[1, 1, 2, 3], [1, 1, 2, 3], [1, 1, 0, 0]], ROAD, CAR, CAR)
    found = compare("a", LABEL, crowd, result)
    assert (found.differing, found.missed, found.false) == (0, 0, 0)


@pytest.mark.parametrize("result", [prediction([[1] * 4] * 3, CAR), prediction([[0] * 4] * 3)])
def test_no_label(result: PanopticResult) -> None:
    found = compare("a", np.zeros((3, 4), dtype=np.int32), [], result)
    assert math.isnan(found.differing) and (found.missed, found.false) == (0, 0)


def test_the_order_and_the_table() -> None:
    shares = {"b": 1.0, "a": 1.0, "none": math.nan, "worst": 30.0, "right": 0.0}
    found = [Disagreement(k, v, "", "", 0, 0) for k, v in shares.items()]
    ranked = worst_first(found)
    assert [one.file_name for one in ranked] == ["worst", "a", "b", "right", "none"]
    rows = list(csv.DictReader(io.StringIO(as_csv(ranked))))
    assert rows[0] == {
        "file_name": "worst",
        "differing": "30.0000",
        "labelled": "",
        "predicted": "",
        "missed": "0",
        "false": "0",
    }
    assert rows[-1]["differing"] == "" and len(rows) == 5
    assert len(as_csv([]).splitlines()) == 1
