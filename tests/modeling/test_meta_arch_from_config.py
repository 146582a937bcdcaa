"""The whole model from a config and the metadata of its data set."""

import pytest
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model

from effps_solo import EfficientPS, add_effps_solo_config
from effps_solo.modeling.fusion import AdaptiveFusion


def _cfg(num_classes: int = 19, num_things: int = 8) -> CfgNode:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "EfficientPS"
    cfg.MODEL.BACKBONE.NAME = "build_efficientnet_two_way_fpn_backbone"
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.EFFICIENTNET.NAME = "tf_efficientnet_lite0"
    cfg.MODEL.TWO_WAY_FPN.OUT_CHANNELS = 64
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = 32
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = num_classes
    cfg.MODEL.INSTANCE_HEAD.NUM_CLASSES = num_things
    cfg.MODEL.OUTPUTS = ["panoptic_seg"]
    cfg.DATASETS.TRAIN = ("cityscapes_fine_panoptic_train",)
    return cfg


def test_from_config() -> None:
    model = build_model(_cfg())
    assert isinstance(model, EfficientPS)
    assert model.label_space.thing_ids == tuple(range(11, 19))
    assert model.outputs == ("panoptic_seg",)
    assert isinstance(model.fusion, AdaptiveFusion)
    with pytest.raises(ValueError, match="MODEL.SEM_SEG_HEAD.NUM_CLASSES is 18"):
        build_model(_cfg(num_classes=18))
    with pytest.raises(ValueError, match="MODEL.INSTANCE_HEAD.NUM_CLASSES is 9"):
        build_model(_cfg(num_things=9))
