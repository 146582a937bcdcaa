"""INT8 after training: the convolutions of an OpenVINO model in 8 bits, with ranges from sample images.

Everything behind the last convolution - kernels times features, scores, Matrix NMS, fusion, indices - stays
in fp32: it decides between close candidates, and takes little of the time. ONNX Runtime is not served:
its static quantisation made the long quick start slower by a seventh on a processor without VNNI, and
cost 10 points of PQ where this costs 0.3.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, List, Sequence, Set

import numpy as np

from effps_solo.inference.exported.description import ModelDescription
from effps_solo.inference.exported.predictor import graph_input
from effps_solo.inference.exported.sessions import INPUT_NAME
from effps_solo.utils.errors import ConfigError
from effps_solo.utils.image_io import read_image

if TYPE_CHECKING:
    import openvino

MAX_IMAGES = 100
_CONVOLUTIONS = ("Convolution", "GroupConvolution")


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
    import nncf

    if not images:
        raise ConfigError("--int8 names no image; it needs some like those that the model will see")
    chosen = [images[k] for k in _evenly(len(images), MAX_IMAGES)]
    samples = [{INPUT_NAME: pixels} for pixels in _preprocessed(chosen, description)]
    return nncf.quantize(
        model,
        nncf.Dataset(samples),
        preset=nncf.QuantizationPreset.MIXED,  # leaky activations have no symmetric range
        subset_size=len(samples),
        ignored_scope=nncf.IgnoredScope(names=behind_the_convolutions(model), validate=False),
    )


def behind_the_convolutions(model: "openvino.Model") -> List[str]:
    """Names of the operations that no convolution needs."""
    needed: Set[str] = set()
    rest = []
    for operation in reversed(model.get_ordered_ops()):
        name = operation.get_friendly_name()
        if operation.get_type_name() in _CONVOLUTIONS or not needed.isdisjoint(_users(operation)):
            needed.add(name)
        elif operation.get_type_name() not in ("Constant", "Parameter", "Result"):
            rest.append(name)
    return rest


def _users(operation: Any) -> Iterator[str]:
    for output in operation.outputs():
        for target in output.get_target_inputs():
            yield target.get_node().get_friendly_name()


def _preprocessed(paths: Sequence[Path], description: ModelDescription) -> Iterator[np.ndarray]:
    """(h, w, 3) uint8 as the graph wants them."""
    for path in paths:
        image = read_image(path, description.image_format)
        yield graph_input(np.ascontiguousarray(image), description)


def _evenly(count: int, limit: int) -> List[int]:
    """At most ``limit`` of the numbers 0 .. count - 1, spread over them."""
    return np.linspace(0, count - 1, min(count, limit)).round().astype(int).tolist()
