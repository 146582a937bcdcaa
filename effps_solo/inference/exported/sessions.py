"""One session per runtime: a numpy image in, the graph's five outputs as numpy arrays out."""

import io
import os
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from effps_solo.utils.errors import UserError

from .description import KEY
from .pt2_safety import check_pt2

OUTPUT_NAMES = ("panoptic_seg", "category_ids", "scores", "areas", "valid")
INPUT_NAME = "image"
DESCRIPTION_FILE = f"{KEY}.json"  # inside a .pt2 archive

EXPORTED_SUFFIXES = (".onnx", ".xml", ".pt2")
PRECISIONS = {"fp32": "f32", "bf16": "bf16"}  # OpenVINO's names

Session = Callable[[np.ndarray], List[np.ndarray]]
Opener = Callable[[str, int, Optional[str], bool], Tuple[Session, str]]


def open_session(
    path: Path,
    threads: int,
    backend: Optional[str] = None,
    precision: Optional[str] = None,
    allow_unsafe: bool = False,
) -> Tuple[Session, str]:
    """Open an exported file with a runtime; the arguments are those of :func:`.predictor.load_exported`.

    Returns:
        the session, and the text of the file's description, "" when there is none.

    Raises:
        UserError: unknown suffix, missing file, one that the runtime refuses or does not read, one
            that can run code, a precision that the runtime does not offer.
        ModuleNotFoundError: the runtime is not installed.
    """
    able = [name for name, (_, suffixes) in BACKENDS.items() if path.suffix in suffixes]
    if not able:
        raise UserError(
            f"{path} is no exported model: its name must end in {', '.join(EXPORTED_SUFFIXES)}"
        )
    if backend not in (None, *able):
        raise UserError(f"the backend '{backend}' does not read {path}; {' or '.join(able)} does")
    check_precision(precision)
    backend = backend or able[0]
    if precision == "bf16" and backend != "openvino":
        raise UserError(f"{path} can run in bf16 with the backend openvino alone")
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    try:
        return BACKENDS[backend][0](os.fspath(path), threads, precision, allow_unsafe)
    except (ModuleNotFoundError, UserError):
        raise
    except Exception as error:  # each runtime raises types of its own
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"{path} cannot be opened: {first_line}") from error


def check_precision(precision: Optional[str]) -> None:
    """Raise UserError when ``precision`` is neither None nor one of ``PRECISIONS``."""
    if precision not in (None, *PRECISIONS):
        raise UserError(f"the precision is '{precision}'; choose one of {list(PRECISIONS)}")


def open_onnxruntime(path: str, threads: int) -> Any:
    """An ``InferenceSession`` on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def compile_openvino(model: Any, threads: int, precision: Optional[str] = None) -> Any:
    """An ``InferRequest`` on the CPU of an ``openvino.Model``; precision: of :data:`PRECISIONS`."""
    import openvino

    settings: Dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    if precision:
        settings["INFERENCE_PRECISION_HINT"] = PRECISIONS[precision]
    return openvino.Core().compile_model(model, "CPU", settings).create_infer_request()


def _onnx_session(path: str, threads: int, *_: object) -> Tuple[Session, str]:
    session = open_onnxruntime(path, threads)

    def run(image: np.ndarray) -> List[np.ndarray]:
        return session.run(list(OUTPUT_NAMES), {INPUT_NAME: image})

    return run, session.get_modelmeta().custom_metadata_map.get(KEY, "")


def _openvino_session(
    path: str, threads: int, precision: Optional[str], *_: object
) -> Tuple[Session, str]:
    import openvino

    model = openvino.Core().read_model(path)
    # Of an .xml, of an .onnx; an .xml has the latter from the .onnx that it was made of, too.
    places = [place for place in ([KEY], ["framework", KEY]) if model.has_rt_info(place)]
    text = model.get_rt_info(places[0]).astype(str) if places else ""
    request, lock = compile_openvino(model, threads, precision), threading.Lock()

    def run(image: np.ndarray) -> List[np.ndarray]:
        with lock:  # the tensors of the request are those of its last image
            request.infer({INPUT_NAME: image})
            return [request.get_tensor(name).data.copy() for name in OUTPUT_NAMES]

    return run, text


def _torch_session(
    path: str, threads: int, _: Optional[str], allow_unsafe: bool
) -> Tuple[Session, str]:
    import torch

    if threads:
        torch.set_num_threads(threads)
    extra, content = {DESCRIPTION_FILE: ""}, io.BytesIO(Path(path).read_bytes())
    if not allow_unsafe:
        check_pt2(content, path)
        content.seek(0)
    module = torch.export.load(content, extra_files=extra).module()

    def run(image: np.ndarray) -> List[np.ndarray]:
        pixels = torch.from_numpy(np.require(image, requirements="W"))  # torch warns of others
        with torch.inference_mode():
            return [x.numpy() for x in module(pixels)]

    return run, extra[DESCRIPTION_FILE]


# Backend -> what opens a file with it, and the suffixes of such files.
BACKENDS: Dict[str, Tuple[Opener, Tuple[str, ...]]] = {
    "onnx": (_onnx_session, (".onnx",)),
    "openvino": (_openvino_session, (".xml", ".onnx")),
    "torch": (_torch_session, (".pt2",)),
}
