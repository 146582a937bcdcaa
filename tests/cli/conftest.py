"""A checkpoint that finds things without training."""

from pathlib import Path

import pytest
import torch


@pytest.fixture
def lively_weights(tiny_config: Path, tmp_path: Path) -> Path:
    """Weights for ``tiny_config`` whose scores and masks are random but spread widely."""
    from effps_solo.engine import Trainer, load_config

    torch.manual_seed(0)
    model = Trainer.build_model(load_config(str(tiny_config)))
    for name, parameter in model.instance_head.named_parameters():
        if "category_predictor" in name or "kernel_predictor" in name:
            bias = 0.0 if "category" in name else 1.0
            with torch.no_grad():
                parameter.normal_(std=2.0) if parameter.dim() > 1 else parameter.fill_(bias)
    path = tmp_path / "lively.pth"
    torch.save({"model": model.state_dict()}, path)
    return path
