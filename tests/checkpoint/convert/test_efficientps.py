"""EfficientPS checkpoints: every key finds its place, norms are folded, class rows are moved."""

from typing import Callable, Dict

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from detectron2.modeling.roi_heads.box_head import FastRCNNConvFCHead
from torch import nn

from effps_solo.checkpoint.convert import convert_checkpoint, fit_to_model
from effps_solo.checkpoint.convert.efficientps import fold_in_place_abn
from effps_solo.modeling.backbone import EfficientNet, TwoWayFPN
from effps_solo.modeling.instance_head.mask_rcnn import SeparableRPNHead
from effps_solo.modeling.layers import separable_conv
from effps_solo.modeling.sem_seg_head import EfficientPSSemanticHead

State = Dict[str, torch.Tensor]
FEATURES = ["p2", "p3", "p4", "p5"]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def count_parameters(state: State, prefix: str = "") -> int:
    return sum(
        value.numel()
        for key, value in state.items()
        if key.startswith(prefix) and not key.endswith(STATISTICS)
    )


def network(name: str, separable: bool, num_classes: int = 19) -> nn.Module:
    """Backbone, neck and semantic head under the names of EfficientPS's meta-architecture."""
    bottom_up = EfficientNet(name=f"tf_efficientnet_{name}")
    names = ["res2", "res3", "res4", "res5"]
    neck = TwoWayFPN(bottom_up=bottom_up, in_features=names, separable=separable)
    shapes = {n: ShapeSpec(channels=256, stride=s) for n, s in zip(FEATURES, (4, 8, 16, 32))}
    head = EfficientPSSemanticHead(
        input_shape=shapes, in_features=FEATURES, num_classes=num_classes
    )
    return nn.ModuleDict({"backbone": neck, "sem_seg_head": head})


def test_the_published_layout_has_the_published_size(efficientps_state: Callable) -> None:
    foreign = efficientps_state("b5", values=False)
    assert len(foreign) == 1064
    assert count_parameters(foreign) == 42_988_744
    state, report = convert_checkpoint({"state_dict": foreign, "meta": {}, "optimizer": {}})
    assert not report.unmatched and not report.left_out and len(state) == 1064
    # Without 4,357 parameters for the background of boxes and masks.
    assert count_parameters(state) == 42_984_387
    assert count_parameters(state, "backbone.bottom_up.") == 23_148_912
    assert count_parameters(state, "sem_seg_head.") == 1_206_547
    assert report.settings["MODEL.EFFICIENTNET.NAME"] == "tf_efficientnet_b5"


def test_separable_output_convs_have_the_papers_size(efficientps_state: Callable) -> None:
    foreign = efficientps_state("b5", separable=True, values=False)
    assert count_parameters(foreign) == 40_902_856
    state, report = convert_checkpoint(foreign)
    assert count_parameters(state) == 40_898_499 and not report.unmatched
    assert report.settings["MODEL.TWO_WAY_FPN.SEPARABLE"] is True


@pytest.mark.parametrize(
    "wrap, separable, counters",
    [("plain", False, True), ("state_dict", True, False), ("module.", False, False)],
)
def test_loads_strictly(
    efficientps_state: Callable, wrap: str, separable: bool, counters: bool
) -> None:
    foreign = efficientps_state(
        "b0", separable=separable, mask_rcnn=False, counters=counters, values=False
    )
    loaded = {
        "plain": foreign,
        "state_dict": {"state_dict": foreign, "optimizer": {"state": {}}},
        "module.": {"state_dict": {f"module.{k}": v for k, v in foreign.items()}},
    }[wrap]
    state, report = convert_checkpoint(loaded)
    assert report.layout == "efficientps" and not report.unmatched and not report.left_out
    assert report.settings["MODEL.EFFICIENTNET.NAME"] == "tf_efficientnet_b0"
    assert report.settings["MODEL.EFFICIENTNET.CONV_HEAD"] is True
    assert report.settings["MODEL.TWO_WAY_FPN.SEPARABLE"] is separable
    assert report.settings["MODEL.SEM_SEG_HEAD.NUM_CLASSES"] == 19
    network("b0", separable).load_state_dict(state)


def test_in_place_abn_worked_by_hand() -> None:
    norms = {}
    for module in ("backbone.bn1", "neck.fpn_convs.0.bn", "mask_head.convs.0.depthwise_conv.bn"):
        norms[f"{module}.weight"] = torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64)
        norms[f"{module}.bias"] = torch.tensor([-1.0, 0.0, 1.0])
        norms[f"{module}.running_var"] = torch.ones(3)
    conv = {"neck.fpn_convs.0.conv.weight": -torch.ones(3)}
    folded = fold_in_place_abn({**norms, **conv})
    assert folded["backbone.bn1.weight"].tolist() == [2.001, 0.001, 3.001]
    assert folded["neck.fpn_convs.0.bn.weight"].tolist() == [2.00001, 0.00001, 3.00001]
    last = folded["mask_head.convs.0.depthwise_conv.bn.weight"]
    assert last.tolist() == [2.00001, 0.00001, 3.00001]
    assert folded["backbone.bn1.bias"].tolist() == [-1.0, 0.0, 1.0]
    assert folded["neck.fpn_convs.0.conv.weight"].tolist() == [-1.0] * 3


def test_the_bottom_up_laterals_are_reversed(efficientps_state: Callable) -> None:
    foreign = efficientps_state("b0", mask_rcnn=False)
    state, _ = convert_checkpoint(foreign)
    for level in range(4):
        theirs = foreign[f"neck.lateral_convs_bottom.{3 - level}.conv.weight"]
        assert torch.equal(state[f"backbone.lateral_bottom_up.{level}.weight"], theirs)
        theirs = foreign[f"neck.lateral_convs_top.{level}.conv.weight"]
        assert torch.equal(state[f"backbone.lateral_top_down.{level}.weight"], theirs)


def sub_state(state: State, prefix: str) -> State:
    return {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}


def test_mask_rcnn_heads_have_detectron2s_names(efficientps_state: Callable) -> None:
    foreign = efficientps_state("b0", num_things=3, values=False)
    state, report = convert_checkpoint(foreign)
    assert report.settings["MODEL.INSTANCE_HEAD.NUM_CLASSES"] == 3
    prefix = "instance_head.proposal_generator.rpn_head."
    rpn = StandardRPNHead(in_channels=256, num_anchors=3)
    rpn.load_state_dict(sub_state(state, prefix))
    box_head = FastRCNNConvFCHead(
        ShapeSpec(channels=256, height=7, width=7), conv_dims=[], fc_dims=[1024, 1024]
    )
    box_head.load_state_dict(sub_state(state, "instance_head.roi_heads.box_head."))
    mask_head = nn.ModuleDict(
        {
            "convs": nn.ModuleList(
                separable_conv(256, 256, norm="BN", activation="leaky_relu") for _ in range(4)
            ),
            "deconv": nn.ConvTranspose2d(256, 256, 2, stride=2),
            "predictor": nn.Conv2d(256, 3, 1),
        }
    )
    mask_head.load_state_dict(sub_state(state, "instance_head.roi_heads.mask_head."))


def test_background_rows(efficientps_state: Callable) -> None:
    foreign = efficientps_state("b0", num_things=3)
    state, _ = convert_checkpoint(foreign)
    box, mask = "instance_head.roi_heads.box_predictor.", "instance_head.roi_heads.mask_head."
    for name in ("weight", "bias"):
        scores = foreign[f"bbox_head.fc_cls.{name}"]
        assert torch.equal(state[f"{box}cls_score.{name}"], scores[[1, 2, 3, 0]])
        assert torch.equal(state[f"{box}bbox_pred.{name}"], foreign[f"bbox_head.fc_reg.{name}"][4:])
        masks = foreign[f"mask_head.conv_logits.{name}"]
        assert torch.equal(state[f"{mask}predictor.{name}"], masks[1:])


def test_class_agnostic_boxes_stay(efficientps_state: Callable) -> None:
    foreign = efficientps_state("b0", num_things=3)
    for name in ("weight", "bias"):
        foreign[f"bbox_head.fc_reg.{name}"] = foreign[f"bbox_head.fc_reg.{name}"][:4]
    state, report = convert_checkpoint(foreign)
    key = "instance_head.roi_heads.box_predictor.bbox_pred.bias"
    assert torch.equal(state[key], foreign["bbox_head.fc_reg.bias"])
    assert report.settings["MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG"] is True


def test_separable_rpn_is_recognised(efficientps_state: Callable) -> None:
    foreign = efficientps_state("b5", separable=True, separable_rpn=True, values=False)
    assert count_parameters(foreign) == 40_902_856 - 593_935 + 72_719  # 40.38 M
    state, report = convert_checkpoint(foreign)
    prefix = "instance_head.proposal_generator.rpn_head."
    rpn = SeparableRPNHead(in_channels=256, num_anchors=3)
    rpn.load_state_dict(sub_state(state, prefix))
    assert sum(p.numel() for p in rpn.parameters()) == 72_719
    assert not report.unmatched
    assert report.settings["MODEL.RPN.HEAD_NAME"] == "SeparableRPNHead"


def test_without_the_heads_target(efficientps_state: Callable) -> None:
    """A model with another instance head takes the rest, and the report says what it leaves."""
    foreign = efficientps_state("b0", values=False)
    foreign["neck.extra.weight"] = torch.ones(1)
    converted, report = convert_checkpoint(foreign)
    assert report.unmatched == ["neck.extra.weight"]
    assert any("background moved" in note for note in report.notes)
    model = network("b0", separable=False, num_classes=5)
    model["instance_head"] = nn.Linear(2, 2)
    state = fit_to_model(converted, report, model.state_dict())
    result = model.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    heads = [k for k in foreign if k.split(".")[0] in ("rpn_head", "bbox_head", "mask_head")]
    assert len(heads) == 66
    assert all(report.left_out[key].startswith("Mask R-CNN head") for key in heads)
    assert report.missing == ["instance_head.weight", "instance_head.bias"]
    assert list(report.reshaped) == ["sem_seg_head.predictor.weight", "sem_seg_head.predictor.bias"]
    assert "the class counts differ" in report.reshaped["sem_seg_head.predictor.bias"]
    seen = {*report.converted, *report.left_out, *report.unmatched}
    assert seen == set(foreign)
    text = report.to_text()
    assert "background" not in text and "in-place ABN folded" in text
    assert "[19] in the file, [5] in the model" in text
    for name in ("neck.extra.weight", "instance_head.bias", "sem_seg_head.predictor.weight"):
        assert name in text
