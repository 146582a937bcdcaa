"""Fitting to a model and a config, and the report."""

import json

import pytest
import torch
from detectron2.config import get_cfg

from effps_solo import add_effps_solo_config
from effps_solo.checkpoint.convert import ConversionReport, fit_to_model, settings_conflicts
from effps_solo.utils.errors import CheckpointError


def test_every_key_is_accounted_for() -> None:
    converted = {
        "a.weight": torch.ones(2),
        "a.num_batches_tracked": torch.tensor(1),
        "b.weight": torch.ones(3),
        "instance_head.roi_heads.box_head.fc1.bias": torch.ones(2),
        "sem_seg_head.predictor.bias": torch.ones(19),
        "c.weight": torch.ones(1),
    }
    report = ConversionReport("x", converted={f"foreign.{key}": key for key in converted})
    model = {
        "a.weight": torch.zeros(2),
        "b.weight": torch.zeros(4),
        "sem_seg_head.predictor.bias": torch.zeros(5),
        "d.weight": torch.zeros(1),
        "d.num_batches_tracked": torch.tensor(0),
    }
    fitting = fit_to_model(converted, report, model)
    assert list(fitting) == ["a.weight"] and report.converted == {"foreign.a.weight": "a.weight"}
    assert report.missing == ["d.weight"]
    assert report.reshaped == {
        "b.weight": "[3] in the file, [4] in the model; it is initialised anew",
        "sem_seg_head.predictor.bias": (
            "[19] in the file, [5] in the model; the class counts differ, so it is initialised anew"
        ),
    }
    assert report.left_out == {
        "foreign.a.num_batches_tracked": "the norms of the config's model count no batches",
        "foreign.b.weight": "another shape, see reshaped",
        "foreign.instance_head.roi_heads.box_head.fc1.bias": (
            "Mask R-CNN head, which the config's model does not have"
        ),
        "foreign.sem_seg_head.predictor.bias": "another shape, see reshaped",
        "foreign.c.weight": "the config's model has no such weight",
    }
    assert json.loads(json.dumps(report.to_dict()))["missing"] == ["d.weight"]


def test_nothing_fits() -> None:
    report = ConversionReport("x", converted={"a": "b"})
    with pytest.raises(CheckpointError, match=r"nothing of the checkpoint fits .*\(it has b\)"):
        fit_to_model({"b": torch.ones(1)}, report, {"c": torch.ones(1)})


def test_conflicts() -> None:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    settings = {
        "INPUT.FORMAT": "RGB",
        "MODEL.PIXEL_MEAN": list(cfg.MODEL.PIXEL_MEAN),
        "MODEL.PIXEL_STD": [1, 1.0, 1.5],
        "MODEL.TWO_WAY_FPN.SEPARABLE": False,
        "MODEL.SOLOV2.NUM_GRIDS": cfg.MODEL.SOLOV2.NUM_GRIDS,
    }
    assert settings_conflicts(settings, cfg) == {
        "INPUT.FORMAT": "BGR",
        "MODEL.PIXEL_STD": [1.0, 1.0, 1.0],
        "MODEL.TWO_WAY_FPN.SEPARABLE": True,
    }


def test_the_text_can_be_pasted() -> None:
    report = ConversionReport("x", settings={"A.B": [1, 2], "A.C": "RGB", "A.D": False})
    report.conflicts = {"A.D": True}
    report.left_out = {f"key{i}": "no use" for i in range(10)}
    lines = report.to_text().splitlines()
    assert lines[0].startswith("layout x: 10 tensors, 0 converted, 10 left out")
    assert '  A.B "[1, 2]"' in lines and "  A.C RGB" in lines
    assert "  A.D False   (the config says True)" in lines
    assert "  key7" in lines and "  key8" not in lines and "  ... and 2 more" in lines
