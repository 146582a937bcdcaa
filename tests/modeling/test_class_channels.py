"""Which channels of the last layers belong to which class."""

from pathlib import Path
from typing import Dict, List, Optional

import pytest
from detectron2.modeling import build_model

from effps_solo.config import classes_of_data, load_config
from effps_solo.modeling.class_channels import BACKGROUND, THINGS, class_channels
from effps_solo.structures.classes import PanopticClass

ROAD = PanopticClass("road", False, 7, (9, 0, 0))
CAR = PanopticClass("car", True, 26, (0, 0, 9))
SKY = PanopticClass("sky", False, 23, (0, 9, 0))
CAR_KEY, ROAD_KEY, SKY_KEY = ("car", True), ("road", False), ("sky", False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sem_seg_head.predictor.weight", [ROAD_KEY, CAR_KEY, SKY_KEY]),
        ("sem_seg_head.head.predictor.bias", [ROAD_KEY, CAR_KEY, SKY_KEY]),
        ("instance_head.grid_branches.category_predictor.bias", [CAR_KEY]),
        ("instance_head.roi_heads.box_predictor.cls_score.weight", [CAR_KEY, BACKGROUND]),
        ("roi_heads.box_predictor.0.bbox_pred.bias", [(CAR_KEY, side) for side in range(4)]),
        ("roi_heads.mask_head.predictor.weight", [CAR_KEY]),
        ("instance_head.grid_branches.kernel_predictor.weight", None),
        ("instance_head.mask_branch.predictor.weight", None),
        ("backbone.fpn.predictor.weight", None),
    ],
)
def test_by_hand(name: str, expected: Optional[List[object]]) -> None:
    assert class_channels(name, (ROAD, CAR, SKY)) == expected


def test_one_channel_for_all_things() -> None:
    found = class_channels("sem_seg_head.predictor.weight", (ROAD, CAR, SKY), True)
    assert found == [THINGS, ROAD_KEY, SKY_KEY]


def test_no_class_of_a_kind() -> None:
    assert class_channels("instance_head.x.category_predictor.bias", (ROAD,)) == []
    assert class_channels("sem_seg_head.predictor.bias", (CAR,), True) == [THINGS]


def test_every_layer_of_every_method(project_root: Path) -> None:
    """The layers whose sizes change with the number of classes are those that are known, with those sizes."""
    for method in ("effps_lite0_solov2", "effps_lite0_mask_rcnn", "panoptic_fpn_lite0"):
        config = str(project_root / "configs" / "quickstart" / f"{method}.yaml")
        cfg = load_config(config, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""])
        classes, model = classes_of_data(cfg), build_model(cfg)
        known: Dict[str, int] = {}
        for name, tensor in model.state_dict().items():
            channels = class_channels(name, classes, model.things_share_a_channel)
            if channels is not None:
                assert len(channels) == len(set(channels)) == len(tensor), (method, name)
                known[name] = len(tensor)
        counts = {19, 12, 8, 9, 32}  # C, stuff and things, T, T + 1, 4 T
        own_size = {
            name
            for name, tensor in model.state_dict().items()
            if tensor.dim() > 0 and len(tensor) in counts and "predictor" in name
        }
        assert known.keys() == own_size and len(known) >= 4, method
