"""Small networks as ONNX files."""

from pathlib import Path
from typing import Any, Sequence, Union

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_network(
    path: Path, shape: Sequence[Union[int, str]], dtype: Any = TensorProto.FLOAT, inputs: int = 1
) -> Path:
    """The mean of an input; ``shape`` may hold names for axes of any length."""
    images = [helper.make_tensor_value_info(f"image{k}", dtype, shape) for k in range(inputs)]
    nodes = [
        helper.make_node("Cast", ["image0"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real", "axes"], ["mean"], keepdims=0),
    ]
    axes = numpy_helper.from_array(np.arange(len(shape)), "axes")
    mean = helper.make_tensor_value_info("mean", TensorProto.FLOAT, [])
    graph = helper.make_graph(nodes, "mean", images, [mean], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path))
    return path
