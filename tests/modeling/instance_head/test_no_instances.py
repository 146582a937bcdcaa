"""The head of data sets without things keeps the contract with nothing in it."""

import torch
from detectron2.config import get_cfg
from detectron2.structures import Instances

from effps_solo import add_effps_solo_config
from effps_solo.modeling.instance_head import NoInstanceHead, StepTotals, build_instance_head


def test_it_is_built_for_no_thing_class() -> None:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.MODEL.INSTANCE_HEAD.NUM_CLASSES = 0
    head = build_instance_head(cfg, {})
    assert isinstance(head, NoInstanceHead)
    assert head.num_classes == 0 and not list(head.parameters())


def test_no_losses_and_no_instances() -> None:
    features = {"p3": torch.zeros(2, 8, 4, 8, dtype=torch.bfloat16), "p2": torch.zeros(2, 8, 8, 16)}
    head = NoInstanceHead()
    targets = head.targets((32, 64), [Instances((32, 64)), Instances((30, 61))], None)
    totals = StepTotals(targets.counts, 1)
    assert targets.counts.shape == (0,)
    assert head.losses(features, [(32, 64), (30, 61)], targets, totals) == {}
    first, second = head.inference(features, [(32, 64), (30, 61)])
    assert (first.image_size, second.image_size) == ((32, 64), (30, 61))
    assert set(first.get_fields()) == {"scores", "thing_index", "pred_boxes", "mask_source"}
    assert len(first) == 0 and first.scores.dtype == torch.float32
    assert second.mask_source.stride4_logits((8, 16)).shape == (0, 8, 16)
    assert second.pred_boxes.tensor.shape == (0, 4)
