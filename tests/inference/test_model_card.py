"""The card of a model: true, complete, and readable where little is known."""

import math

import pytest
from detectron2.config import CfgNode, get_cfg

from effps_solo.config import add_effps_solo_config
from effps_solo.inference.model_card import evaluation_of, model_card, thresholds_of
from effps_solo.structures.classes import PanopticClass

CLASSES = (
    PanopticClass("a|b", True, 1, (1, 2, 3)),
    PanopticClass("road", False, 2, (4, 5, 6)),
)
RESULTS = {
    "panoptic_seg": {"PQ": 61.25, "SQ": 70.0, "RQ": 80.0, "PQ_th": math.nan, "PQ-a|b": 12.34},
    "sem_seg": {"mIoU": 55.5},
    "segm": {"AP": math.nan},
    "ema": {},
}


@pytest.fixture
def cfg() -> CfgNode:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("mine_train",), ("mine_val",)
    cfg.INPUT.CROP_SIZE, cfg.INPUT.SCALE_RANGE = (256, 512), (0.5, 2.0)
    return cfg


def test_what_is_known(cfg: CfgNode) -> None:
    card = model_card(
        cfg,
        CLASSES,
        num_parameters=3_440_000,
        origin="model_best.pth",
        num_images=324,
        evaluation=evaluation_of(cfg, RESULTS),
        licence="Apache-2.0",
    )
    for line in (
        "| trained on | mine_train, 324 images |",
        "| classes | things a/b; stuff road |",
        "| weights | model_best.pth |",
        "| licence | Apache-2.0 |",
        "On mine_val, in percent:",
        "| all | 61.2 | 70.0 | 80.0 |",
        "| things | - | - | - |",
        "| a/b | 12.3 |  |  |",
        "mIoU 55.5, AP of masks -.",
    ):
        assert f"\n{line}\n" in card
    assert "3.4 million parameters" in card and "256x512 pixels" in card and "0.5 to 2" in card
    assert "Measured with SCORE_THRESH 0.5, OVERLAP_THRESH 0.5, " in card


def test_little_is_known(cfg: CfgNode) -> None:
    cfg.DATASETS.TRAIN, cfg.INPUT.AUGMENTATION = (), "shortest_edge"
    card = model_card(cfg, CLASSES[1:], num_parameters=0, origin="x.pth")
    assert "| trained on | unknown data |" in card and "| licence | not stated: ask" in card
    assert "| classes | stuff road |" in card and "a shorter edge of 800 pixels" in card
    assert "These weights were not evaluated" in card and "Measured" not in card


def test_the_thresholds_of_the_evaluation_are_those_it_was_made_with(cfg: CfgNode) -> None:
    evaluation = evaluation_of(cfg, RESULTS)
    cfg.MODEL.PANOPTIC_FUSION.SCORE_THRESH = 0.3
    card = model_card(cfg, CLASSES, num_parameters=0, origin="x", evaluation=evaluation)
    assert "| thresholds | SCORE_THRESH 0.3," in card and "Measured with SCORE_THRESH 0.5," in card
    assert evaluation["thresholds"] != thresholds_of(cfg)


def test_several_data_sets_and_none(cfg: CfgNode) -> None:
    cfg.DATASETS.TEST = ("a_val", "b_val")
    evaluation = evaluation_of(cfg, {"a_val": RESULTS, "b_val": {"segm": {"AP": 1.0}}, "ema": {}})
    card = model_card(cfg, CLASSES, num_parameters=0, origin="x", evaluation=evaluation)
    assert "On a_val, in percent:" in card and "On b_val, in percent:\n\nAP of masks 1.0." in card
    cfg.DATASETS.TEST = ()
    nothing = evaluation_of(cfg, {})
    card = model_card(cfg, CLASSES, num_parameters=0, origin="x", evaluation=nothing)
    assert "not evaluated" in card
