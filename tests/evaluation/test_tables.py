"""Tables of scores, by hand."""

import math
from typing import Any, Callable

import pytest
from detectron2.config import CfgNode

from effps_solo.evaluation import build_evaluator
from effps_solo.evaluation.tables import score_table


def test_a_mean_and_scores_of_classes() -> None:
    scores = {"mIoU": 50.0, "fwIoU": 61.234, "IoU-car": 100, "IoU-traffic-light": 0.0}
    scores.update({"mACC": 75.0, "pACC": 80.0, "ACC-car": 100.0, "ACC-traffic-light": math.nan})
    head, line, *rows = score_table(scores).splitlines()
    assert head.split() == ["IoU", "ACC", "fwIoU", "pACC"]
    assert [row.split() for row in rows] == [
        ["All", "50.00", "75.00", "61.23", "80.00"],
        ["car", "100.00", "100.00"],
        ["traffic-light", "0.00", "nan"],
    ]


def test_cityscapes_mean_stands_once() -> None:
    scores = {"mIoU": 40.0, "IoU": 40.0, "iIoU": 30.0, "IoU-road": 40.0, "IoU-sky": math.nan}
    head, _, *rows = score_table(scores).splitlines()
    assert head.split() == ["IoU", "iIoU"]
    values = [["All", "40.00", "30.00"], ["road", "40.00"], ["sky", "nan"]]
    assert [row.split() for row in rows] == values


def test_nothing_but_overall_scores() -> None:
    """Of one class Detectron2 tells no AP beside that of all; without a prediction there are no others."""
    head, _, row = score_table({"AP": 1.0, "AP50": 2.5}).splitlines()
    assert head.split() == ["AP", "AP50"] and row.split() == ["All", "1.00", "2.50"]
    assert score_table({}).split() == ["---", "All"]


@pytest.mark.parametrize("layout", ["coco_name", "cityscapes_name"])
def test_an_evaluation_tells_a_table_of_each_task(
    layout: str,
    cfg: CfgNode,
    perfect: Callable[..., Any],
    evaluate: Callable[..., Any],
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = request.getfixturevalue(layout)
    with caplog.at_level("INFO", "effps_solo"):
        results = evaluate(build_evaluator(cfg, name), name, lambda r: perfect(name, r))
    told = [r.getMessage() for r in caplog.records if "in percent" in r.getMessage()]
    titles = [message.splitlines()[0] for message in told]
    kinds = ("Panoptic quality", "Mean IoU", "Mask AP")
    assert titles == [f"{kind} on {name}, in percent:" for kind in kinds]
    for task, message in zip(("sem_seg", "segm"), told[1:]):
        assert message.partition("\n")[2] == score_table(results[task])
        assert "person" in message
