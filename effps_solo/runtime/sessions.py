"""One session per runtime: a numpy image in, the graph's five outputs as numpy arrays out."""

import os
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from ..errors import UserError
from .description import KEY

OUTPUT_NAMES = ("panoptic_seg", "category_ids", "scores", "areas", "valid")
INPUT_NAME = "image"
DESCRIPTION_FILE = f"{KEY}.json"  # inside a .pt2 archive

Session = Callable[[np.ndarray], List[np.ndarray]]


def open_session(path: Path, threads: int) -> Tuple[Session, str]:
    """Open an exported file with the runtime that its suffix tells.

    Args:
        path: .onnx (ONNX Runtime), .xml (OpenVINO) or .pt2 (torch).
        threads: of the CPU; 0: the runtime decides.

    Returns:
        the session, and the text of the file's description, "" when there is none.

    Raises:
        UserError: unknown suffix, missing file, or one that the runtime refuses.
        ModuleNotFoundError: the runtime is not installed.
    """
    if path.suffix not in _OPENERS:
        raise UserError(f"{path} is no exported model: its name must end in {', '.join(_OPENERS)}")
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    try:
        return _OPENERS[path.suffix](os.fspath(path), threads)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # each runtime raises types of its own
        raise UserError(f"{path} cannot be opened: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _onnx_session(path: str, threads: int) -> Tuple[Session, str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(image: np.ndarray) -> List[np.ndarray]:
        return session.run(list(OUTPUT_NAMES), {INPUT_NAME: image})

    return run, session.get_modelmeta().custom_metadata_map.get(KEY, "")


def _openvino_session(path: str, threads: int) -> Tuple[Session, str]:
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    text = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else ""
    settings: Dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()

    def run(image: np.ndarray) -> List[np.ndarray]:
        request.infer({INPUT_NAME: image})
        return [request.get_tensor(name).data.copy() for name in OUTPUT_NAMES]

    return run, text


def _torch_session(path: str, threads: int) -> Tuple[Session, str]:
    import torch

    if threads:
        torch.set_num_threads(threads)
    extra = {DESCRIPTION_FILE: ""}
    module = torch.export.load(path, extra_files=extra).module()

    def run(image: np.ndarray) -> List[np.ndarray]:
        with torch.inference_mode():
            return [x.numpy() for x in module(torch.from_numpy(image))]

    return run, extra[DESCRIPTION_FILE]


_OPENERS: Dict[str, Callable[[str, int], Tuple[Session, str]]] = {
    ".onnx": _onnx_session,
    ".xml": _openvino_session,
    ".pt2": _torch_session,
}
