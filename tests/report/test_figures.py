"""The plots: what is in them, and when there is none."""

import math
from xml.etree import ElementTree

from effps_solo.evaluation.thresholds import Curve, Tuning
from effps_solo.modeling.outputs import FusionThresholds
from effps_solo.report.figures import svg_of_calibration, svg_of_training, svg_of_tuning
from effps_solo.report.statistics import ScoreBin

HISTORY = [
    {"iteration": 19, "total_loss": 4.0, "loss_mask": 1.0, "lr": 0.1},
    {"iteration": 39, "total_loss": math.nan, "loss_mask": 0.5, "lr": 0.1},
    {"iteration": 40, "panoptic_seg/PQ": 10.0},
    {"iteration": 59, "total_loss": 2.0, "loss_mask": 0.4, "panoptic_seg/PQ": 20.0},
]


def _texts(svg: str) -> str:
    return " ".join(filter(None, (e.text for e in ElementTree.fromstring(svg).iter())))


def test_training() -> None:
    texts = _texts(svg_of_training({"run": HISTORY}))
    assert "total_loss" in texts and "loss_mask" in texts and "percent" in texts
    assert "lr" not in texts and "run" not in texts.split()


def test_every_loss_of_both_heads() -> None:
    ours, theirs = ["loss_ins", "loss_mask"], ["cls", "box_reg", "rpn_cls", "rpn_loc", "z"]
    names = [*ours, *(f"loss_{name}" for name in theirs), "loss_sem_seg", "total_loss"]
    history = [{"iteration": k, **dict.fromkeys(names, 1.0)} for k in (19, 39)]
    texts = _texts(svg_of_training({"run": history})).split()
    assert set(names) <= set(texts)


def test_two_runs_are_named() -> None:
    texts = _texts(svg_of_training({"a<b": HISTORY, "c&d": HISTORY[:1]}))
    assert "total_loss, a<b" in texts and "total_loss, c&d" in texts


def test_one_evaluation_is_no_curve() -> None:
    assert "percent" not in _texts(svg_of_training({"run": HISTORY[:3]}))


def test_no_history() -> None:
    assert svg_of_training({"run": []}) == ""
    assert svg_of_training({"run": [{"iteration": 3, "panoptic_seg/PQ": 1.0}]}) == ""


def test_calibration() -> None:
    bins = [ScoreBin(0.3, 0.4, 2, 0.33, 0.0), ScoreBin(0.8, 0.9, 1, 0.85, 1.0)]
    texts = _texts(svg_of_calibration({"things": {"run": bins}, "stuff": {"run": bins[:1]}}))
    assert "things" in texts and "stuff" in texts and "score" in texts


def test_equal_input_gives_equal_bytes() -> None:
    assert svg_of_training({"run": HISTORY}) == svg_of_training({"run": HISTORY})


def test_tuned_thresholds() -> None:
    """Three curves a threshold, some of which there are not; without a stuff area that is 0."""
    current, chosen = FusionThresholds(0.5, 0.5, 0.0), FusionThresholds(0.3, 0.5, 0.25)
    curves = [
        Curve("SCORE_THRESH", [0.3, 0.5], [50.0, 40.0], [50.0, 40.0], [None, None]),
        Curve("STUFF_AREA_FRACTION", [0.0, 0.001, 0.25], [1.0, 2.0, 3.0], [None] * 3, [2.0] * 3),
    ]
    tuning = Tuning("model.pth", 9, current, chosen, 40.0, 50.0, 1.0, 0.5, (1.0, 3.0), curves)
    svg = svg_of_tuning(tuning)
    assert svg == svg_of_tuning(tuning)
    assert all(word in svg for word in ("SCORE_THRESH", "STUFF_AREA_FRACTION", "things", "stuff"))
