"""Opening and recognising checkpoints."""

from typing import Any, Callable, Dict

import numpy as np
import pytest
import torch

from effps_solo.checkpoint.convert import convert_checkpoint, detect_layout
from effps_solo.checkpoint.convert.layouts import open_state_dict
from effps_solo.utils.errors import CheckpointError

SMALL: Dict[str, Any] = {"num_classes": 2, "channels": 32, "kernel_dim": 32, "num_convs": 1}
SMALL.update(backbone=False, values=False)
ONE = torch.ones(1)


def test_every_layout_is_recognised(
    efficientps_state: Callable, solov2_state: Callable, timm_state: Callable
) -> None:
    assert detect_layout(efficientps_state("b0", mask_rcnn=False, values=False)) == "efficientps"
    assert detect_layout(timm_state("b0")) == "timm"
    for layout in ("adelaidet", "solo", "mmdet"):
        assert detect_layout(solov2_state(layout, **SMALL)) == layout


def test_an_unclear_file_is_described() -> None:
    state = {
        "backbone.layer1.0.conv1.weight": ONE,
        "bbox_head.fc_cls.weight": ONE,
        "backbone.x": ONE,
    }
    with pytest.raises(CheckpointError) as caught:
        convert_checkpoint(state)
    message = str(caught.value)
    assert "no layout known here; seen: backbone (2), bbox_head (1), such as" in message
    assert "'backbone.layer1.0.conv1.weight'" in message and "adelaidet, solo, mmdet" in message


def test_keys_of_two_layouts_are_unclear(solov2_state: Callable, timm_state: Callable) -> None:
    both = {**solov2_state("solo", **SMALL), **timm_state("b0")}
    with pytest.raises(CheckpointError, match=r"several layouts \(solo, timm\)"):
        convert_checkpoint(both)
    assert convert_checkpoint(both, "solo")[1].layout == "solo"


def test_our_own_checkpoint_needs_no_conversion() -> None:
    with pytest.raises(CheckpointError, match="already one of this project"):
        convert_checkpoint({"model": {"backbone.lateral_top_down.0.weight": ONE}})


def test_a_wrong_choice_of_layout(solov2_state: Callable) -> None:
    state = solov2_state("solo", **SMALL)
    with pytest.raises(CheckpointError, match="not of the layout 'mmdet'.*seen: mask_feat_head"):
        convert_checkpoint(state, "mmdet")
    with pytest.raises(CheckpointError, match="unknown layout 'x'"):
        convert_checkpoint(state, "x")


@pytest.mark.parametrize(
    "loaded, message",
    [
        ({}, "no weights"),
        ({"state_dict": {}}, "no weights"),
        ({"epoch": 3, "weights": ONE}, "'epoch' is a int, not a tensor"),
        ({"state_dict": {"a": {"b": ONE}}}, "'a' is a dict"),
    ],
)
def test_what_is_no_state_dict(loaded: Dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(loaded)


def test_opening() -> None:
    opened = open_state_dict({"model": {"module.a": np.zeros(2), "module.b": ONE}, "iteration": 3})
    assert list(opened) == ["a", "b"] and isinstance(opened["a"], torch.Tensor)
    assert list(open_state_dict({"module.a": ONE, "b": ONE})) == ["module.a", "b"]


def test_a_key_that_comes_twice_is_refused(efficientps_state: Callable) -> None:
    state = efficientps_state("b0", mask_rcnn=False, values=False)
    state["neck.fpn_convs.0.gn.weight"] = ONE
    with pytest.raises(CheckpointError, match="'backbone.output_convs.0.norm.weight'"):
        convert_checkpoint(state)
