"""Checkpoints to pass on: half the size, and a config beside them that opens them."""

import runpy
import sys
from pathlib import Path

import pytest
import torch

from effps_solo import load
from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.utils.version import __version__


def test_a_model_that_can_be_passed_on(
    tiny_config: Path,
    lively_weights: Path,
    tmp_path: Path,
    project_root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(load_config(str(tiny_config)).dump())
    (run / "model_final.pth").write_bytes(lively_weights.read_bytes())
    script = str(project_root / "tools" / "shrink_checkpoint.py")
    words = ["--input", str(run / "model_final.pth"), "--output", str(tmp_path / "small")]
    monkeypatch.setattr(sys, "argv", [script, *words])
    runpy.run_path(script, run_name="__main__")
    content = torch.load(tmp_path / "small" / "model.pth", weights_only=True)
    assert content["effps_solo_version"] == __version__
    small = content["model"]
    whole = Trainer.build_model(load_config(str(tiny_config))).state_dict()
    assert small.keys() == whole.keys()
    assert {t.dtype for t in small.values() if t.dim() > 1} == {torch.float16}
    assert {t.dtype for t in small.values() if t.dim() == 1} == {torch.float32}
    result = load(tmp_path / "small" / "model.pth")(torch.zeros(3, 64, 96, dtype=torch.uint8))
    assert result.panoptic.shape == (64, 96)
