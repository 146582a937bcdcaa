"""A model for the tests of the export."""

from pathlib import Path
from typing import Callable

import pytest
import torch

from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.modeling.meta_arch import EfficientPS
from tests.noise_statistics import take_statistics


@pytest.fixture
def lively_model(tiny_config: Path) -> Callable[..., EfficientPS]:
    def build(*words: str) -> EfficientPS:
        """An untrained network that sees many objects and every class in noise."""
        low = ["MODEL.PANOPTIC_FUSION.SCORE_THRESH", "0.05", "MODEL.OUTPUTS", "('panoptic_seg',)"]
        torch.manual_seed(0)
        model: EfficientPS = Trainer.build_model(load_config(str(tiny_config), [*low, *words]))
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.normal_(module.weight, std=(2.0 / module.weight[0].numel()) ** 0.5)
        bias = model.instance_head.grid_branches.category_predictor.bias
        torch.nn.init.constant_(bias, -1.0)
        take_statistics(model)
        return model

    return build
