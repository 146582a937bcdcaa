"""The command on whole checkpoints: what it writes loads into the model of a config and predicts."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
import torch
from detectron2.modeling import build_model

from effps_solo.__main__ import main
from effps_solo.checkpoint.checkpointer import EffPSCheckpointer
from effps_solo.config import load_config

GRIDS = "[[8, 8], [6, 6], [4, 4], [3, 3], [2, 2]]"
THINGS, CLASSES = 2, 4  # of the tiny set


def convert(foreign: Dict[str, torch.Tensor], folder: Path, config: Path, *opts: str) -> dict:
    """Runs the command; returns its report."""
    source = folder / "published.pth"
    wrapped = {f"module.{k}": v.float() if v.is_floating_point() else v for k, v in foreign.items()}
    torch.save({"state_dict": wrapped, "meta": {"CLASSES": ("a",), "epoch": 1}}, source)
    words = ["convert", "--input", str(source), "--output", str(folder / "new" / "ours.pth")]
    assert main([*words, "--config-file", str(config), "--opts", *opts]) == 0
    return dict(json.loads((folder / "new" / "ours.json").read_text()))


def load_and_predict(folder: Path, config: Path, *opts: str) -> List[str]:
    """Loads what was written as training and predict do; returns the keys that stay random."""
    model = build_model(load_config(str(config), opts)).eval()
    path = str(folder / "new" / "ours.pth")
    written = torch.load(path, weights_only=True)["model"]
    result = model.load_state_dict(written, strict=False)
    assert not result.unexpected_keys
    EffPSCheckpointer(model).load(path)
    assert all(torch.equal(model.state_dict()[k], v) for k, v in written.items())
    with torch.no_grad():
        output = model([{"image": torch.zeros(3, 64, 96)}])[0]
    assert output["panoptic_seg"][0].shape == (64, 96)
    return list(result.missing_keys)


def settings(report: Dict[str, Any]) -> List[str]:
    return [str(word) for setting in report["settings"].items() for word in setting]


@pytest.mark.slow
def test_efficientps(
    efficientps_state: Callable,
    tiny_config: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    foreign = efficientps_state("b0", num_classes=CLASSES, num_things=THINGS)
    probe = [
        "MODEL.EFFICIENTNET.NAME",
        "tf_efficientnet_b0",
        "MODEL.TWO_WAY_FPN.OUT_CHANNELS",
        "256",
    ]
    report = convert(foreign, tmp_path, tiny_config, *probe)
    # The config's settings do not fit yet, and the report says which.
    assert report["conflicts"]["MODEL.EFFICIENTNET.CONV_HEAD"] is False
    assert report["conflicts"]["MODEL.TWO_WAY_FPN.SEPARABLE"] is True
    assert report["reshaped"] and report["missing"]
    text = capsys.readouterr().out
    assert "MODEL.TWO_WAY_FPN.SEPARABLE False   (the config says True)" in text

    words = settings(report)
    report = convert(foreign, tmp_path, tiny_config, *words)
    assert not report["conflicts"] and not report["unmatched"] and not report["reshaped"]
    assert all(why.startswith("Mask R-CNN head") for why in report["left_out"].values())
    random = load_and_predict(tmp_path, tiny_config, *words)
    assert random == report["missing"]
    assert random and all(key.startswith("instance_head.") for key in random)


@pytest.mark.slow
def test_efficientps_with_its_own_heads(
    efficientps_state: Callable, tiny_config: Path, tmp_path: Path
) -> None:
    """Nothing is left out, missing or initialised anew: the original EfficientPS."""
    foreign = efficientps_state("b0", num_classes=CLASSES, num_things=THINGS)
    words = ["MODEL.INSTANCE_HEAD.NAME", "MaskRCNNInstanceHead"]
    words += ["MODEL.ROI_MASK_HEAD.CONV_DIM", "256", "MODEL.EFFICIENTNET.NAME"]
    words += ["tf_efficientnet_b0", "MODEL.TWO_WAY_FPN.OUT_CHANNELS", "256"]
    words += settings(convert(foreign, tmp_path, tiny_config, *words))
    report = convert(foreign, tmp_path, tiny_config, *words)
    for part in ("conflicts", "unmatched", "reshaped", "left_out", "missing"):
        assert not report[part], part
    assert any("background moved" in note for note in report["notes"])
    assert load_and_predict(tmp_path, tiny_config, *words) == []


@pytest.mark.slow
def test_solov2(solov2_state: Callable, tiny_config: Path, tmp_path: Path) -> None:
    width = {"num_classes": THINGS, "channels": 64, "kernel_dim": 32, "num_convs": 2}
    foreign = solov2_state("mmdet", **width)
    resnet = ["MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone"]
    features = "['res2','res3','res4','res5']"
    resnet += ["MODEL.RESNETS.OUT_FEATURES", features, "MODEL.FPN.IN_FEATURES", features]
    report = convert(foreign, tmp_path, tiny_config, *resnet)
    words = [*settings(report), "MODEL.SOLOV2.NUM_GRIDS", GRIDS]
    report = convert(foreign, tmp_path, tiny_config, *words)
    assert not report["unmatched"] and not report["reshaped"]
    assert list(report["conflicts"]) == ["MODEL.SOLOV2.NUM_GRIDS"]
    random = load_and_predict(tmp_path, tiny_config, *words)
    assert random and all(key.startswith("sem_seg_head.") for key in random)


def test_other_class_counts_are_initialised_anew(
    solov2_state: Callable, tiny_config: Path, tmp_path: Path
) -> None:
    width = {"num_classes": 80, "channels": 64, "kernel_dim": 32, "num_convs": 2}
    foreign = solov2_state("solo", **width, backbone=False)
    words = ["MODEL.SOLOV2.VARIANT", "full", "MODEL.SOLOV2.CHANNELS", "64"]
    words += ["MODEL.SOLOV2.NUM_CONVS", "2", "MODEL.SOLOV2.KERNEL_DIM", "32"]
    words += ["MODEL.SOLOV2.MASK_CHANNELS", "128", "MODEL.TWO_WAY_FPN.OUT_CHANNELS", "256"]
    report = convert(foreign, tmp_path, tiny_config, *words)
    prefix = "instance_head.grid_branches.category_predictor"
    assert list(report["reshaped"]) == [f"{prefix}.weight", f"{prefix}.bias"]
    assert "the class counts differ" in report["reshaped"][f"{prefix}.weight"]
    assert report["conflicts"]["MODEL.INSTANCE_HEAD.NUM_CLASSES"] == THINGS
    random = load_and_predict(tmp_path, tiny_config, *words)
    assert {f"{prefix}.weight", f"{prefix}.bias"} <= set(random)
