"""ONNX forms of torch operators that torch's exporter lacks."""

from typing import Any, Callable, Dict, Tuple

import torch
from onnxscript import opset18 as op


def _sort_stable(
    x: Any, stable: bool = True, dim: int = -1, descending: bool = False
) -> Tuple[Any, Any]:
    """``aten.sort.stable``: ONNX's TopK puts the earlier of equal values first."""
    length: Any = op.Shape(x, start=dim, end=dim + 1 if dim != -1 else None)
    return op.TopK(x, length, axis=dim, largest=int(descending), sorted=1)


def translations() -> Dict[Callable, Callable]:
    """For the argument ``custom_translation_table`` of :func:`torch.onnx.export`."""
    return {torch.ops.aten.sort.stable: _sort_stable}
