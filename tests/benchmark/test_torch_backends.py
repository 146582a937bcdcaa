"""The compiled backends on a network of two layers; compiling a whole one takes minutes."""

import copy

import pytest
import torch
from torch import nn

from effps_solo.benchmark.torch_backends import _compile


@pytest.mark.slow
def test_compiled_networks_give_what_they_gave() -> None:
    model = nn.Module()
    model.backbone = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    model.rest = nn.Conv2d(4, 4, 1)
    model.eval()
    eager = copy.deepcopy(model)
    _compile(model)
    assert model.backbone._compiled_call_impl is not None and model.rest._compiled_call_impl is None
    image = torch.rand(1, 3, 16, 24)
    with torch.inference_mode():
        assert torch.allclose(model.backbone(image), eager.backbone(image), atol=1e-5)
