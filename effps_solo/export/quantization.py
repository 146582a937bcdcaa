"""INT8 after training: the convolutions of an OpenVINO model in 8 bits, with ranges from sample images.

Everything behind the last convolution - kernels times features, scores, Matrix NMS, fusion, indices - stays
in fp32: it decides between close candidates, and takes little of the time. ONNX Runtime is not served:
its static quantisation made the long quick start slower by a seventh on a processor without VNNI, and
cost 10 points of PQ where this costs 0.3.
"""

from pathlib import Path
from typing import TYPE_CHECKING, List, Sequence, Set

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
    count = min(len(images), MAX_IMAGES)
    chosen = [images[k] for k in np.linspace(0, len(images) - 1, count).round().astype(int)]
    pixels = (np.ascontiguousarray(read_image(x, description.image_format)) for x in chosen)
    samples = [{INPUT_NAME: graph_input(image, description)} for image in pixels]
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
        targets = (t for output in operation.outputs() for t in output.get_target_inputs())
        users = (target.get_node().get_friendly_name() for target in targets)
        if operation.get_type_name() in _CONVOLUTIONS or not needed.isdisjoint(users):
            needed.add(name)
        elif operation.get_type_name() not in ("Constant", "Parameter", "Result"):
            rest.append(name)
    return rest
