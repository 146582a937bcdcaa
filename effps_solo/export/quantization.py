"""INT8 after training: the convolutions in 8 bits, with ranges from sample images.

Everything behind the last convolutions - kernels times features, scores, Matrix NMS, fusion, indices - stays
in fp32: it decides between close candidates, and takes little of the time. In ONNX Runtime so do the last
convolutions themselves: OpenVINO leaves what comes out of them in fp32, here one range of 8 bits for classes,
kernels and prior would cost ten points of PQ.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Sequence, Set

import numpy as np

from effps_solo.inference.exported.description import ModelDescription
from effps_solo.inference.exported.predictor import graph_input
from effps_solo.inference.exported.sessions import INPUT_NAME
from effps_solo.utils.errors import ConfigError
from effps_solo.utils.image_io import read_image

if TYPE_CHECKING:
    import onnx
    import openvino

MAX_IMAGES = 100
_CONVOLUTIONS = ("Convolution", "GroupConvolution")
# What ONNX Runtime computes in 8 bits between two convolutions.
_ONNX_OPERATIONS = ("Conv", "Clip", "LeakyRelu", "Relu", "Add", "Resize", "Concat")


def quantized(
    model: "openvino.Model", images: Sequence[Path], description: ModelDescription
) -> "openvino.Model":
    """``model`` with quantised convolutions.

    Args:
        model: of the graph of :class:`effps_solo.export.graph.PanopticGraph`.
        images: like those that it will see; of more than ``MAX_IMAGES`` an even choice.
        description: of the model.

    Raises:
        ConfigError: no image.
        ImageError: one of them cannot be read.
        ModuleNotFoundError: nncf is not installed.
    """
    chosen = _some_of(images)
    import nncf

    logging.getLogger("nncf").setLevel(
        logging.WARNING
    )  # it tells every operation that it leaves out
    return nncf.quantize(
        model,
        nncf.Dataset(chosen, lambda path: _sample(path, description)),
        preset=nncf.QuantizationPreset.MIXED,  # leaky activations have no symmetric range
        subset_size=len(chosen),
        ignored_scope=nncf.IgnoredScope(names=behind_the_convolutions(model), validate=False),
    )


def write_quantized_onnx(
    source: str, target: str, images: Sequence[Path], description: ModelDescription
) -> None:
    """Write the ONNX file ``source`` with quantised convolutions; see :func:`quantized`."""
    chosen = _some_of(images)
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    model = onnx.load(source)
    properties = {each.key: each.value for each in model.metadata_props}
    properties["onnx.quant.pre_process"] = "onnxruntime.quant"  # no advice to fold what is folded
    onnx.helper.set_model_props(model, properties)
    quantize_static(
        model,
        target,
        _CalibrationImages(chosen, description),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(_ONNX_OPERATIONS),
        nodes_to_quantize=before_the_last_convolutions(model.graph),
        per_channel=True,
        # Products of 8 and 8 bits overflow on processors without VNNI.
        reduce_range=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _some_of(images: Sequence[Path]) -> List[Path]:
    if not images:
        raise ConfigError("--int8 names no image; it needs some like those that the model will see")
    count = min(len(images), MAX_IMAGES)
    return [images[k] for k in np.linspace(0, len(images) - 1, count).round().astype(int)]


def _sample(path: Path, description: ModelDescription) -> Dict[str, np.ndarray]:
    return {INPUT_NAME: graph_input(read_image(path, description.image_format), description)}


class _CalibrationImages:
    """The ``CalibrationDataReader`` of ONNX Runtime, which it does not insist on."""

    def __init__(self, images: Sequence[Path], description: ModelDescription) -> None:
        self._samples = (_sample(path, description) for path in images)

    def get_next(self) -> Any:
        """The next image, None behind the last one."""
        return next(self._samples, None)


def behind_the_convolutions(model: "openvino.Model") -> List[str]:
    """Names of the operations that no convolution needs."""
    needed: Set[str] = set()
    rest = []
    for operation in reversed(model.get_ordered_ops()):
        name = operation.get_friendly_name()
        targets = (t for output in operation.outputs() for t in output.get_target_inputs())
        users = (target.get_node().get_friendly_name() for target in targets)
        if operation.get_type_name() in _CONVOLUTIONS or not needed.isdisjoint(users):
            needed.add(name)
        elif operation.get_type_name() not in ("Constant", "Parameter", "Result"):
            rest.append(name)
    return rest


def before_the_last_convolutions(graph: "onnx.GraphProto") -> List[str]:
    """Names of the operations whose results a convolution needs."""
    users: Dict[str, List[str]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node.name)
    before: Set[str] = set()
    reached = {node.name for node in graph.node if node.op_type == "Conv"}
    for node in reversed(graph.node):
        if any(not reached.isdisjoint(users.get(name, ())) for name in node.output):
            before.add(node.name)
            reached.add(node.name)
    return [node.name for node in graph.node if node.name in before]
