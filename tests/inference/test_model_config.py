"""The config of a trained model, with and without the data of its training."""

from pathlib import Path

import pytest

from effps_solo.config import read_config
from effps_solo.inference.model_config import BEST_WEIGHTS, FINAL_WEIGHTS, with_trained_weights
from effps_solo.utils.errors import ConfigError


def test_weights_of_a_training(tiny_config: Path, tmp_path: Path) -> None:
    cfg = read_config(str(tiny_config), ["MODEL.WEIGHTS", "named.pth", "OUTPUT_DIR", str(tmp_path)])
    with_trained_weights(cfg)
    assert cfg.MODEL.WEIGHTS == "named.pth"
    for none in ("", "imagenet://tf_efficientnet_lite0"):
        cfg.MODEL.WEIGHTS = none
        with pytest.raises(ConfigError, match=f"MODEL.WEIGHTS is '{none}', and .*model_final.pth"):
            with_trained_weights(cfg)
    (tmp_path / "model_final.pth").touch()
    with_trained_weights(cfg, (BEST_WEIGHTS, FINAL_WEIGHTS))
    assert cfg.MODEL.WEIGHTS == str(tmp_path / "model_final.pth")
    (tmp_path / "model_best.pth").touch()
    for names, expected in (
        ((FINAL_WEIGHTS,), "model_final.pth"),
        ((BEST_WEIGHTS, FINAL_WEIGHTS), "model_best.pth"),
    ):
        cfg.MODEL.WEIGHTS = ""
        with_trained_weights(cfg, names)
        assert cfg.MODEL.WEIGHTS == str(tmp_path / expected)
