"""What is told about keys that nothing reads, and what is not."""

import logging
from pathlib import Path
from typing import List

import pytest
from detectron2.config import CfgNode, get_cfg

from effps_solo import add_effps_solo_config
from effps_solo.config import load_config, read_config
from effps_solo.config.unused_keys import TABLE, unused_keys, value_of

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = [p for p in (ROOT / "configs").glob("**/*.yaml") if p.name != "comparison.yaml"]
SHIPPED.append(ROOT / "effps_solo" / "weights" / "street_scenes" / "config.yaml")
MASK_RCNN = ("MODEL.INSTANCE_HEAD.NAME", "MaskRCNNInstanceHead")
PANOPTIC_FPN = ("MODEL.META_ARCHITECTURE", "LabelSpacePanopticFPN")
RESNET = ("MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone")
SHORTEST_EDGE = ("INPUT.AUGMENTATION", "shortest_edge")


@pytest.fixture
def default() -> CfgNode:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    return cfg


def keys_told(*words: str) -> List[str]:
    """Of EfficientPS with SOLOv2 and these overrides."""
    cfg = read_config(str(ROOT / "configs" / "Base-EffPS.yaml"), words)
    return [line.split()[0] for line in unused_keys(cfg)]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_shipped_configs_set_nothing_in_vain(path: Path, tmp_path: Path) -> None:
    cfg = read_config(str(path))
    assert unused_keys(cfg) == []
    (tmp_path / "whole.yaml").write_text(cfg.dump())  # as a training leaves it, with every key
    assert unused_keys(read_config(str(tmp_path / "whole.yaml"))) == []


def test_the_defaults_say_nothing() -> None:
    assert unused_keys(read_config("")) == [] == keys_told()


def test_the_table_names_keys_that_exist(default: CfgNode) -> None:
    for row in TABLE:
        for key in (*row.keys, *row.parts):
            value_of(default, key)
        for word in row.instead.replace(",", "").split():
            if "." in word.rstrip("."):
                value_of(default, word.replace("[0]", ""))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("MODEL.BACKBONE.FREEZE_AT", "3"), True),
        (("MODEL.BACKBONE.FREEZE_AT", "2"), False),  # Detectron2's default
        (("MODEL.BACKBONE.FREEZE_AT", "3", *RESNET), False),
        (("MODEL.RESNETS.DEPTH", "101"), True),
        (("MODEL.RESNETS.DEPTH", "101", *RESNET), False),
        (("MODEL.RPN.NMS_THRESH", "0.6"), True),
        (("MODEL.RPN.NMS_THRESH", "0.6", *MASK_RCNN), False),
        (("MODEL.RPN.NMS_THRESH", "0.6", *PANOPTIC_FPN), False),
        (("MODEL.ROI_HEADS.NUM_CLASSES", "3", *MASK_RCNN), True),
        (("MODEL.SEM_SEG_HEAD.COMMON_STRIDE", "8"), True),
        (("MODEL.SEM_SEG_HEAD.COMMON_STRIDE", "8", "MODEL.SEM_SEG_HEAD.NAME", "Own"), False),
        (("MODEL.SEM_SEG_HEAD.LOSS_WEIGHT", "0.5"), False),
        (("MODEL.SEM_SEG_HEAD.IGNORE_VALUE", "0"), True),
        (("MODEL.PANOPTIC_FPN.COMBINE.OVERLAP_THRESH", "0.8", *PANOPTIC_FPN), True),
        (("MODEL.PANOPTIC_FUSION.OVERLAP_THRESH", "0.8", *PANOPTIC_FPN), False),
        (("INPUT.MIN_SIZE_TEST", "512"), True),
        (("INPUT.MIN_SIZE_TEST", "512", *SHORTEST_EDGE), False),
        (("INPUT.CROP.ENABLED", "True"), True),
        (("INPUT.TEST_SCALE", "2.0"), False),
        (("INPUT.TEST_SCALE", "2.0", *SHORTEST_EDGE), True),
        (("INPUT.BASE_SHORTEST_EDGE", "9", "INPUT.AUGMENTATION", "large_scale_jitter"), True),
        (("TEST.AUG.MAX_SIZE", "99"), True),
        (("SOLVER.MOMENTUM", "0.8", "SOLVER.OPTIMIZER", "SGD"), False),
        (("SOLVER.MOMENTUM", "0.8", "SOLVER.OPTIMIZER", "AdamW"), True),
    ],
)
def test_keys_by_the_parts_that_read_them(words: List[str], told: bool) -> None:
    assert keys_told(*words) == [words[0]] * told


def test_load_config_tells_each_key_of_file_and_command_once(
    tiny_config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = tiny_config.read_text().replace(
        "MODEL:", "MODEL:\n  BACKBONE: {FREEZE_AT: 3}\n  ROI_HEADS: {NUM_CLASSES: 2}", 1
    )
    tiny_config.write_text(text)
    with caplog.at_level(logging.WARNING, logger="effps_solo"):
        load_config(str(tiny_config), ["INPUT.MAX_SIZE_TEST", "999"])
    assert caplog.messages == [
        "MODEL.BACKBONE.FREEZE_AT is 3, which has no effect with MODEL.BACKBONE.NAME "
        "build_efficientnet_two_way_fpn_backbone: set MODEL.EFFICIENTNET.FREEZE_AT",
        "MODEL.ROI_HEADS.NUM_CLASSES is 2, which has no effect with MODEL.META_ARCHITECTURE "
        "EfficientPS: set MODEL.INSTANCE_HEAD.NUM_CLASSES",
        "INPUT.MAX_SIZE_TEST is 999, which has no effect with INPUT.AUGMENTATION scale_crop: set "
        "INPUT.TEST_SCALE, or INPUT.AUGMENTATION shortest_edge",
    ]
