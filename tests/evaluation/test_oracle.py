"""The oracle: what stride-4 masks and grid cells can express, and what not."""

from typing import Tuple

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog

from effps_solo import add_effps_solo_config
from effps_solo.data.mapper import instances_from_objects
from effps_solo.evaluation.oracle import OracleModel, _block_shares

NAME = "oracle_test_set"


@pytest.fixture(scope="module", autouse=True)
def metadata():
    MetadataCatalog.get(NAME).set(
        thing_dataset_id_to_contiguous_id={5: 1}, stuff_dataset_id_to_contiguous_id={3: 0}
    )


def make_model(masks, head="SOLOv2InstanceHead"):
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.MODEL.META_ARCHITECTURE = "EfficientPS"
    cfg.MODEL.INSTANCE_HEAD.NAME = head
    cfg.DATASETS.TRAIN = (NAME,)
    cfg.MODEL.INSTANCE_HEAD.NUM_CLASSES = 1
    cfg.MODEL.PANOPTIC_FUSION.STUFF_AREA_FRACTION = 0.0
    return OracleModel(cfg, masks)


def make_input(objects, sem_seg):
    count = int(objects.max())
    return {
        "sem_seg": sem_seg,
        "objects": objects,
        "instances": instances_from_objects(objects.numpy(), [0] * count),
        "height": objects.shape[0],
        "width": objects.shape[1],
    }


@pytest.mark.parametrize("masks", ["binary", "soft"])
def test_aligned_object_comes_back_exactly(masks):
    objects = torch.zeros(64, 96, dtype=torch.int32)
    objects[16:40, 32:64] = 1
    sem_seg = (objects > 0).long()
    panoptic, info = make_model(masks)([make_input(objects, sem_seg)])[0]["panoptic_seg"]
    thing = next(s for s in info if s["isthing"])
    found = panoptic == thing["id"]
    union = (found | (objects > 0)).sum()
    assert (found & (objects > 0)).sum() / union > 0.98
    assert {s["category_id"] for s in info} == {0, 1}


def test_object_without_a_stride4_pixel_is_lost():
    objects = torch.zeros(64, 64, dtype=torch.int32)
    objects[8:56, 27:29] = 1  # two columns on the rim of two blocks: no centre pixel
    x = make_input(objects, (objects > 0).long())
    assert not x["instances"].gt_stride4_masks.any()
    _, info = make_model("binary")([x])[0]["panoptic_seg"]
    assert not any(s["isthing"] for s in info)


@pytest.mark.parametrize("masks", ["binary", "soft"])
def test_image_without_objects(masks):
    objects = torch.zeros(33, 50, dtype=torch.int32)
    panoptic, info = make_model(masks)([make_input(objects, objects.long())])[0]["panoptic_seg"]
    assert [s["category_id"] for s in info] == [0]
    assert (panoptic == info[0]["id"]).all()


def test_unknown_masks():
    with pytest.raises(ValueError, match="masks must be one of"):
        make_model("hard")


@pytest.mark.parametrize("head, found", [("SOLOv2InstanceHead", 0), ("MaskRCNNInstanceHead", 1)])
def test_heads_without_grids_lose_no_object_to_them(head, found):
    objects = torch.zeros(64, 96, dtype=torch.int32)
    objects[16:40, 32:64] = 1
    model = make_model("soft", head)
    if model.grid:
        model.grid["scale_ranges"] = [(1000, 2000)] * 5
    _, info = model([make_input(objects, (objects > 0).long())])[0]["panoptic_seg"]
    assert sum(s["isthing"] for s in info) == found


@pytest.mark.parametrize("size", [(8, 12), (7, 9), (1, 1)])
def test_shares_of_blocks_against_a_slow_statement(size: Tuple[int, int]) -> None:
    labels = torch.from_numpy(np.random.default_rng(0).integers(-1, 6, size))
    shares = _block_shares(labels, 5)
    height, width = size
    assert shares.shape == (5, -(-height // 4), -(-width // 4))
    for k, y, x in np.ndindex(*shares.shape):
        block = [
            labels[min(v, height - 1), min(u, width - 1)] == k
            for v in range(4 * y, 4 * y + 4)
            for u in range(4 * x, 4 * x + 4)
        ]
        assert shares[k, y, x] == sum(map(int, block)) / 16


def test_shares_of_no_labels() -> None:
    assert _block_shares(torch.zeros(8, 8, dtype=torch.int64), 0).shape == (0, 2, 2)
