"""Rows of modules that add up to the whole."""

import copy
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from effps_solo.benchmark.analysis import OUTSIDE, analyze
from effps_solo.benchmark.measure import count_macs
from effps_solo.config import load_config
from effps_solo.inference.predictor import Predictor
from effps_solo.inference.preparation import build_inference_model

pytestmark = pytest.mark.usefixtures("fresh_loggers")


def analyzed(config: Path, depth: int) -> Tuple[nn.Module, float, List[Dict[str, Any]]]:
    """The model with its norms, its multiply-accumulates and the rows of one without them."""
    torch.manual_seed(0)
    cfg = load_config(str(config), ["MODEL.OUTPUTS", "['panoptic_seg']"])
    trained = build_model(cfg)
    predictor = Predictor(cfg, model=build_inference_model(cfg, copy.deepcopy(trained)))
    image = np.zeros((64, 96, 3), dtype=np.uint8)
    macs = count_macs(lambda: predictor.panoptic(image))
    return trained, macs, analyze(predictor, image, depth, 1, trained)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_every_column_adds_up(tiny_config: Path, depth: int) -> None:
    trained, macs, rows = analyzed(tiny_config, depth)
    counted = sum(p.numel() for p in trained.parameters())
    assert sum(row["parameters"] for row in rows) == counted
    assert sum(row["macs"] for row in rows) == pytest.approx(macs)
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    seconds = [row["seconds"] for row in rows]
    assert seconds == sorted(seconds, reverse=True) and seconds[0] > 0
    assert len({row["module"] for row in rows}) == len(rows)


def test_the_parts_of_the_network(tiny_config: Path) -> None:
    trained, _, rows = analyzed(tiny_config, 1)
    by_name = {row["module"]: row for row in rows}
    assert set(by_name) == {"backbone", "sem_seg_head", "instance_head", "fusion", OUTSIDE}
    for name in ("backbone", "sem_seg_head", "instance_head"):
        module = trained.get_submodule(name)
        assert by_name[name]["parameters"] == sum(p.numel() for p in module.parameters())
        assert by_name[name]["macs"] > 0
    assert by_name["fusion"]["macs"] == by_name["fusion"]["parameters"] == 0


def test_lists_of_modules_are_no_level(tiny_config: Path) -> None:
    _, _, rows = analyzed(tiny_config, 2)
    names = [row["module"] for row in rows]
    assert "backbone.output_convs.0" in names and "backbone.output_convs" not in names
    assert "backbone (itself)" in names
    convolution = next(row for row in rows if row["module"] == "backbone.output_convs.0")
    assert convolution["macs"] > 0 and convolution["parameters"] > 0
