"""SOLOv2 checkpoints in three layouts: every key finds its place, settings fit, variants are refused."""

from typing import Callable, Dict

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from torch import nn

from effps_solo import add_effps_solo_config
from effps_solo.checkpoint.convert import convert_checkpoint, settings_conflicts
from effps_solo.config.files import merge_overrides
from effps_solo.modeling.instance_head import build_instance_head
from effps_solo.utils.errors import CheckpointError

State = Dict[str, torch.Tensor]
LAYOUTS = ("adelaidet", "solo", "mmdet")
SMALL = {"num_classes": 5, "channels": 64, "kernel_dim": 32, "num_convs": 2}


def config(settings: Dict[str, object]) -> CfgNode:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    words = [str(word) for setting in settings.items() for word in setting]
    merge_overrides(cfg, words)
    return cfg


def build(cfg: CfgNode) -> nn.Module:
    """Backbone and instance head under the names of the meta-architecture."""
    backbone = build_backbone(cfg, ShapeSpec(channels=3))
    head = build_instance_head(cfg, backbone.output_shape())
    return nn.ModuleDict({"backbone": backbone, "instance_head": head})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_published_size(solov2_state: Callable, layout: str) -> None:
    foreign = solov2_state(layout, values=False)
    state, report = convert_checkpoint({"state_dict": foreign, "optimizer": {}})
    assert report.layout == layout and not report.unmatched
    assert all(key.endswith("num_batches_tracked") for key in report.left_out)
    assert len(report.left_out) == (0 if layout == "adelaidet" else 53)
    counted = [k for k in state if not k.endswith(("running_mean", "running_var"))]
    assert sum(state[k].numel() for k in counted) == 46_592_912
    sizes = {
        part: sum(v.numel() for k, v in state.items() if k.startswith(f"instance_head.{part}."))
        for part in ("grid_branches", "mask_branch")
    }
    assert sizes == {"grid_branches": 18_081_104, "mask_branch": 1_659_392}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_settings_build_the_model_of_the_weights(solov2_state: Callable, layout: str) -> None:
    state, report = convert_checkpoint(solov2_state(layout, **SMALL, values=False))
    cfg = config(report.settings)
    assert settings_conflicts(report.settings, cfg) == {}
    build(cfg).load_state_dict(state)  # strictly
    torchvision = layout != "adelaidet"
    assert cfg.INPUT.FORMAT == ("RGB" if torchvision else "BGR")
    assert cfg.MODEL.PIXEL_MEAN[0] == pytest.approx(123.675 if torchvision else 103.53)
    assert cfg.MODEL.PIXEL_STD[0] == pytest.approx(58.395 if torchvision else 1.0)
    assert cfg.MODEL.RESNETS.STRIDE_IN_1X1 is not torchvision
    assert cfg.MODEL.RESNETS.DEPTH == 50
    assert (cfg.MODEL.SOLOV2.NUM_CONVS, cfg.MODEL.SOLOV2.CHANNELS) == (2, 64)
    assert cfg.MODEL.SOLOV2.SCALE_RANGES[0] == [1, 56]  # those of the light variants
    # What decodes as published is for the user to choose, no matter of the weights.
    assert not cfg.MODEL.SOLOV2.PARITY and any("SOLOV2.PARITY" in note for note in report.notes)


def test_the_three_layouts_hold_the_same(solov2_state: Callable) -> None:
    """The builder draws the same numbers in the same order for each."""
    states = [
        convert_checkpoint(solov2_state(name, **SMALL, backbone=False))[0] for name in LAYOUTS
    ]
    first = {k: v for k, v in states[0].items()}
    for other in states[1:]:
        assert set(other) == set(first)
        assert all(torch.equal(first[key], other[key]) for key in first)


def test_a_head_without_its_backbone(solov2_state: Callable) -> None:
    state, report = convert_checkpoint(solov2_state("mmdet", **SMALL, backbone=False))
    assert all(key.startswith("instance_head.") for key in state)
    assert "MODEL.RESNETS.DEPTH" not in report.settings
    assert report.settings["MODEL.SOLOV2.VARIANT"] == "full"


@pytest.mark.parametrize(
    "key",
    ["bbox_head.cate_convs.0.conv.conv_offset.weight", "backbone.layer2.0.conv2_offset.bias"],
)
def test_deformable_convolutions_are_refused(solov2_state: Callable, key: str) -> None:
    foreign = solov2_state("solo", **SMALL, values=False)
    foreign[key] = torch.ones(27)
    with pytest.raises(CheckpointError, match=f"deformable convolutions .*{key}.* without DCN"):
        convert_checkpoint(foreign)


def test_larger_dynamic_kernels_are_refused(solov2_state: Callable) -> None:
    foreign = solov2_state("mmdet", **SMALL, values=False)
    foreign["mask_head.conv_kernel.weight"] = torch.ones(9 * 32, 64, 3, 3)
    with pytest.raises(CheckpointError, match="288 numbers for 32 mask features; only 1x1"):
        convert_checkpoint(foreign)
