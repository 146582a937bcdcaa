"""Networks as training leaves them."""

from typing import Callable

import pytest
import torch
from torch import nn


def randomise_module(module: nn.Module, seed: int = 0) -> None:
    """Random weights and statistics that keep the activations in a sane range."""
    torch.manual_seed(seed)
    state = module.state_dict()
    for name, value in state.items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2)
        elif name.endswith("running_mean") or name.endswith("bias"):
            value.normal_(std=0.3)
        elif value.dim() == 1:
            value.uniform_(0.5, 1.5)
        elif value.dim() == 4:
            value.normal_(std=(2.0 / value[0].numel()) ** 0.5)
    module.load_state_dict(state)


@pytest.fixture
def randomise() -> Callable[[nn.Module], None]:
    """A function that gives a network weights and statistics which no initialisation has."""
    return randomise_module
