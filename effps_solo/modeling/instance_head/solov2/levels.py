"""Layers that the levels of the grids share, run on all levels.

A batch norm behind a shared convolution takes the cells of all levels as one batch: its weights see one mean
and variance. Level by level, the running statistics would be those of no level, and a coarse one has few
cells to take them from. Without batch statistics (inference, group norm) every level is by itself.

Levels are (N, C, S_h, S_w).
"""

from typing import Any, Callable, Iterable, Iterator, List, Tuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from effps_solo.modeling.layers import SeparableConv2d

_Map = Callable[[torch.Tensor], torch.Tensor]


def run_on_levels(layers: Iterable[nn.Module], levels: List[torch.Tensor]) -> List[torch.Tensor]:
    """The levels behind ``layers``: Conv2d with a norm, SepConv, or what has ``linear``."""
    for layer in layers:
        if not any(isinstance(m, _BatchNorm) and m.training for m in layer.modules()):
            levels = [layer(x) for x in levels]
            continue
        for linear, norm, activation in _steps(layer):
            levels = _on_cells(nn.Sequential(norm, activation), [linear(x) for x in levels])
    return levels


def _steps(layer: Any) -> Iterator[Tuple[_Map, nn.Module, nn.Module]]:
    """(convolution, norm, activation), one or two of a layer."""
    if isinstance(layer, SeparableConv2d):
        yield layer.convolve_depthwise, layer.depthwise.norm, layer.depthwise.activation
        layer = layer.pointwise
    yield getattr(layer, "linear", None) or _pointwise(layer), layer.norm, layer.activation


def _pointwise(conv: Any) -> _Map:
    return lambda x: F.conv2d(x, conv.weight)


def _on_cells(pointwise: nn.Module, levels: List[torch.Tensor]) -> List[torch.Tensor]:
    """``pointwise`` on the cells of all levels as one map (N, C, cells, 1)."""
    cells = pointwise(torch.cat([x.flatten(2)[..., None] for x in levels], dim=2))
    parts = cells[..., 0].split([x.shape[-2] * x.shape[-1] for x in levels], dim=2)
    return [part.unflatten(2, x.shape[-2:]) for part, x in zip(parts, levels)]
