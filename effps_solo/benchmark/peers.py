"""Networks of others as ONNX files, timed beside the model. Jobs of a worker, which imports no torch.

What is timed is the network alone, from an image of the right size in its input to its raw outputs: neither
its preparation of images nor what it makes of the outputs is part of the file.
"""

from typing import Any, Callable, Optional, Sequence, Tuple

import numpy as np

from effps_solo.inference.exported.sessions import compile_openvino, open_onnxruntime
from effps_solo.utils.errors import UserError
from effps_solo.utils.image_io import read_image

from .measure import peak_memory, timed
from .worker import Answer, Job, Task

# Batches of images -> outputs.
Network = Callable[[np.ndarray], Any]
Shape = Sequence[Optional[int]]  # None: any


class PeerJob(Job):
    """Run a network of one image input."""

    def __init__(self, task: Task) -> None:
        """
        Raises:
            UserError: the file cannot be opened, or takes no images of ``task.image_size``.
        """
        open_network = _open_onnx if task.kind == "peer-onnx" else _open_openvino
        path = task.paths[0]
        self.network, shape, dtype = open_network(path, task.threads, task.image_size)
        is_last = check_shape(path, shape, task.image_size)
        self.batches = [
            as_batch(read_image(image, "RGB"), is_last, np.dtype(dtype)) for image in task.images
        ]
        self.loaded_memory = peak_memory()

    def run(self, number: int) -> Answer:
        """{"wall", "process"} seconds."""
        batch = self.batches[number % len(self.batches)]
        wall, process, _ = timed(lambda: self.network(batch))
        return {"wall": wall, "process": process, "stages": {}, "things": None}

    def finish(self) -> Answer:
        """{"peak_memory_bytes", "loaded_memory_bytes"}, and None for what the file does not tell."""
        memory = {"peak_memory_bytes": peak_memory(), "loaded_memory_bytes": self.loaded_memory}
        return {**memory, "parameters": None, "macs": None}


open_job = PeerJob  # of a task of kind peer-onnx or peer-openvino


def check_shape(path: str, shape: Shape, image_size: Tuple[int, int]) -> bool:
    """Whether the channels are the last axis of a network's input.

    Args:
        shape: of the input.

    Raises:
        UserError: it takes no single image of this size.
    """
    given = "x".join("?" if n is None else str(n) for n in shape)
    if len(shape) != 4 or 3 not in (shape[1], shape[3]) or shape[0] not in (None, 1):
        raise UserError(
            f"--peer {path} takes an input of {given}; a peer takes one image, 1x3xHxW or 1xHxWx3"
        )
    is_last = shape[1] != 3
    height, width = shape[1:3] if is_last else shape[2:]
    if height not in (None, image_size[0]) or width not in (None, image_size[1]):
        raise UserError(
            f"--peer {path} takes images of {height}x{width} pixels, not of "
            f"{image_size[0]}x{image_size[1]}; give --image-size {height} {width}"
        )
    return is_last


def as_batch(image: np.ndarray, channels_last: bool, dtype: np.dtype) -> np.ndarray:
    """(H, W, 3) uint8 -> (1, 3, H, W) or (1, H, W, 3) of ``dtype``, floating-point ones in [0, 1]."""
    batch = image[None] if channels_last else image.transpose(2, 0, 1)[None]
    if dtype.kind == "f":
        batch = batch.astype(np.float32) / 255
    return np.ascontiguousarray(batch, dtype=dtype)


def _open_onnx(path: str, threads: int, _: Tuple[int, int]) -> Tuple[Network, Shape, Any]:
    session = open_onnxruntime(path, threads)
    image = _only_input(path, session.get_inputs())
    # Axes of any length have names.
    shape = [n if isinstance(n, int) and n > 0 else None for n in image.shape]
    types = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
    dtype = types.get(image.type)
    if dtype is None:
        raise UserError(f"--peer {path} takes {image.type}; a peer takes float or uint8 images")
    return lambda batch: session.run(None, {image.name: batch}), shape, dtype


def _open_openvino(
    path: str, threads: int, image_size: Tuple[int, int]
) -> Tuple[Network, Shape, Any]:
    import openvino

    model = openvino.Core().read_model(path)
    image = _only_input(path, model.inputs)
    shape = [n.get_length() if n.is_static else None for n in image.partial_shape]
    if None in shape:
        is_last = check_shape(path, shape, image_size)
        model.reshape([1, *image_size, 3] if is_last else [1, 3, *image_size])
    request = compile_openvino(model, threads)
    dtype = image.get_element_type().to_dtype()
    return lambda batch: request.infer([batch]), shape, dtype


def _only_input(path: str, inputs: Sequence[Any]) -> Any:
    if len(inputs) != 1:
        raise UserError(f"--peer {path} has {len(inputs)} inputs; a peer takes one image")
    return inputs[0]
