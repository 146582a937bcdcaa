"""Runs with one seed are one run."""

from pathlib import Path
from typing import Any, Dict

import pytest
import torch

pytestmark = pytest.mark.usefixtures("fresh_loggers")

# All that is random in a training: start, scale, crop, flip and colours of images.
RANDOM = {
    "INPUT.SCALE_RANGE": "(0.5, 2.0)", "INPUT.RANDOM_FLIP": "horizontal", "INPUT.COLOR_JITTER": 0.2,
    "INPUT.CROP_SIZE": "(32, 64)", "DATASETS.TEST": "()", "SOLVER.MAX_ITER": 3,
}  # fmt: skip


def weights(train: Any, config: Path, **overrides: object) -> Dict[str, torch.Tensor]:
    """The state of the model after a training."""
    words = [str(w) for pair in {**RANDOM, **overrides}.items() for w in pair]
    options = ["--config-file", str(config), "--overwrite"]
    train(*options, *words)
    path = config.parent / "output" / "model_final.pth"
    model: Dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model"]
    return model


def test_bit_equal_with_one_seed_and_not_with_another(tiny_config: Path, train: Any) -> None:
    first = weights(train, tiny_config, SEED=5)
    again = weights(train, tiny_config, SEED=5, **{"DATALOADER.NUM_WORKERS": 2})
    other = weights(train, tiny_config, SEED=6)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
