"""Small SOLOv2 heads, features for them, and their masks by a plain sum."""

from typing import Any, Callable, Dict

import pytest
import torch
from detectron2.layers import ShapeSpec
from torch import nn

from effps_solo.modeling.instance_head import PublishedSOLOv2InstanceHead, SOLOv2InstanceHead
from effps_solo.modeling.instance_head.solov2.position_prior import (
    Gaussians,
    base_extents,
)

NAMES = ["p2", "p3", "p4", "p5", "p6"]
GRIDS = [(8, 12), (6, 10), (5, 7), (3, 4), (2, 3)]
RANGES = [(1.0, 16.0), (8.0, 32.0), (16.0, 64.0), (32.0, 128.0), (64.0, 1e5)]
SIZE = (64, 96)
NUM_CLASSES = 3
VARIANTS = ["efficient", "full"]
Features = Dict[str, torch.Tensor]


def _shapes(channels: int = 32) -> Dict[str, ShapeSpec]:
    return {n: ShapeSpec(channels=channels, stride=4 << i) for i, n in enumerate(NAMES)}


def _head(published: bool = False, **kwargs: Any) -> SOLOv2InstanceHead:
    torch.manual_seed(0)
    head_type = PublishedSOLOv2InstanceHead if published else SOLOv2InstanceHead
    arguments: Dict[str, Any] = {
        "input_shape": _shapes(),
        "in_features": NAMES,
        "mask_in_features": NAMES[:4],
        "num_classes": NUM_CLASSES,
        "num_grids": GRIDS,
        "scale_ranges": RANGES,
        "channels": 32,
        "num_convs": 2,
        "kernel_dim": 32,
        "mask_channels": 32,
        "point_loss_weight": 3.0,
        "norm": "GN" if kwargs.get("variant") == "full" else "BN",
    }
    return head_type(**{**arguments, **kwargs})


def _features(count: int = 2, seed: int = 0, channels: int = 32) -> Features:
    torch.manual_seed(seed)
    return {
        n: torch.randn(count, channels, -(-SIZE[0] // (4 << i)), -(-SIZE[1] // (4 << i)))
        for i, n in enumerate(NAMES)
    }


def _lively(**kwargs: Any) -> SOLOv2InstanceHead:
    """A head whose scores and masks differ from cell to cell."""
    head = _head(**kwargs).eval()
    torch.manual_seed(1)
    for name, parameter in head.named_parameters():
        if parameter.dim() == 4:
            nn.init.normal_(parameter, std=(1.0 / parameter[0].numel()) ** 0.5)
    nn.init.constant_(head.grid_branches.category_predictor.bias, -0.5)
    nn.init.normal_(head.grid_branches.kernel_predictor.bias, std=0.2)
    return head


def _mask_logits(head: SOLOv2InstanceHead, output: Any, image: int, cell: int) -> torch.Tensor:
    """The dynamic convolution of one cell, and the prior around the centre of that cell."""
    kernel, features = output.kernels[image, cell], output.mask_features[image]
    logits = sum(float(kernel[e]) * features[e] for e in range(len(features)))
    assert isinstance(logits, torch.Tensor)
    if len(kernel) == len(features):
        return logits
    level = 0
    while cell >= GRIDS[level][0] * GRIDS[level][1]:
        cell -= GRIDS[level][0] * GRIDS[level][1]
        level += 1
    row, column = divmod(cell, GRIDS[level][1])
    x = (column + 0.5) * SIZE[1] / GRIDS[level][1]
    y = (row + 0.5) * SIZE[0] / GRIDS[level][0]
    prior = Gaussians.of(
        kernel[None, len(features) :],
        torch.tensor([[x, y]]),
        torch.tensor([base_extents(RANGES)[level]]),
    )
    of_rows, of_columns = prior.terms((SIZE[0] // 4, SIZE[1] // 4))
    return logits + of_rows[0][:, None] + of_columns[0]


@pytest.fixture(scope="module", params=VARIANTS)
def lively(request: pytest.FixtureRequest) -> SOLOv2InstanceHead:
    """A head of either variant whose scores and masks differ from cell to cell; in eval mode."""
    return _lively(variant=request.param)


@pytest.fixture
def make_head() -> Callable[..., SOLOv2InstanceHead]:
    return _head


@pytest.fixture
def make_lively() -> Callable[..., SOLOv2InstanceHead]:
    return _lively


@pytest.fixture
def make_features() -> Callable[..., Features]:
    """Features of ``count`` images of 64 x 96 pixels."""
    return _features


@pytest.fixture
def mask_logits() -> Callable[..., torch.Tensor]:
    """(head, output, image, cell) -> the (16, 24) logits of one cell."""
    return _mask_logits
