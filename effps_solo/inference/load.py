"""``load(...)``: a trained or exported model behind one call, image in, result out."""

import importlib.util
import os
from pathlib import Path
from typing import Any, Dict, List, Optional, Protocol, Sequence, Tuple, Union, overload

import numpy as np

from effps_solo.checkpoint.model_folder import CLASSES_NAME, FOLDER_NAME, WEIGHTS_NAME
from effps_solo.structures.classes import PanopticClass
from effps_solo.utils.errors import UserError
from effps_solo.utils.image_io import MAX_MEGAPIXELS, ImageError, ImageSource, as_rgb
from effps_solo.utils.packaged import located_model, packaged_models

from .exported import BACKENDS, EXPORTED_SUFFIXES, check_precision, load_exported
from .result import PanopticResult

TORCH_SUFFIXES = (".yaml", ".yml", ".pth")
# Knows generated streets; its README.md says how well.
SHIPPED_MODEL = packaged_models()["street_scenes"]
SAMPLE_IMAGE = SHIPPED_MODEL / "sample.jpg"
_RUNTIME = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}  # of a backend
_NETWORK_NEEDS = ("torch", "detectron2")


class PanopticPredictor(Protocol):
    """What a model needs of whatever runs it; see :class:`.predictor.Predictor`."""

    image_format: str
    classes: Tuple[PanopticClass, ...]
    confidence_threshold: float

    def panoptic(
        self, image: np.ndarray, confidence_threshold: Optional[float] = None
    ) -> Tuple[np.ndarray, List[Dict[str, Any]]]:
        """(H, W, 3) uint8 -> (H, W) int32 segment ids, 0 is void, and Detectron2's segments_info.

        With a threshold of its own for this image; None: the attribute's.
        """


class PanopticModel:
    """A model to call with images; see :func:`load`.

    Attributes:
        predictor: what runs the network.
        classes: what it tells apart, by contiguous id.
        max_megapixels: larger images, in millions of pixels, are refused before they take all memory.
    """

    def __init__(
        self, predictor: PanopticPredictor, max_megapixels: float = MAX_MEGAPIXELS
    ) -> None:
        self.predictor, self.classes = predictor, predictor.classes
        self.max_megapixels = max_megapixels
        self._confidence_threshold: Optional[float] = None

    @property
    def confidence_threshold(self) -> float:
        """Lowest score of a thing in the map, in [0, 1], where a call names none; can be set."""
        own = self._confidence_threshold
        return self.predictor.confidence_threshold if own is None else own

    @confidence_threshold.setter
    def confidence_threshold(self, value: float) -> None:
        _check_threshold(value)
        self._confidence_threshold = value

    @overload
    def __call__(
        self, images: ImageSource, *, confidence_threshold: Optional[float] = None
    ) -> PanopticResult: ...

    @overload
    def __call__(
        self, images: Sequence[ImageSource], *, confidence_threshold: Optional[float] = None
    ) -> List[PanopticResult]: ...

    def __call__(
        self,
        images: Union[ImageSource, Sequence[ImageSource]],
        *,
        confidence_threshold: Optional[float] = None,
    ) -> Union[PanopticResult, List[PanopticResult]]:
        """
        Args:
            images: one, or a list or tuple of them; each a path, the bytes of an image file, a Pillow
                image, an array (H, W, 3) RGB or a tensor (3, H, W) RGB, see
                :func:`effps_solo.utils.image_io.as_rgb`. One after the other is predicted: their sizes may
                differ, and memory does not grow with their number.
            confidence_threshold: lowest score of a thing, in [0, 1], for this call alone; None: the
                model's.

        Returns:
            a result, or a list of them for a list or tuple.

        Raises:
            ImageError: something is no image, or it has more than ``max_megapixels``.
            UserError: an exported model was made for images of another shape, or the threshold is
                not in [0, 1].
        """
        if confidence_threshold is None:
            confidence_threshold = self._confidence_threshold
        _check_threshold(confidence_threshold)
        if isinstance(images, (list, tuple)):
            return [self._predict(image, confidence_threshold) for image in images]
        return self._predict(images, confidence_threshold)

    def _predict(self, source: ImageSource, threshold: Optional[float]) -> PanopticResult:
        image = as_rgb(source)
        height, width = image.shape[:2]
        megapixels = height * width / 1e6
        if megapixels > self.max_megapixels:
            raise ImageError(
                f"the image has {width}x{height} pixels, {megapixels:.0f} million; more than "
                f"{self.max_megapixels:g} million may need more memory than there is: shrink it, or "
                "raise max_megapixels (--max-megapixels)"
            )
        pixels = image if self.predictor.image_format == "RGB" else image[..., ::-1]
        found = self.predictor.panoptic(pixels, threshold)
        return PanopticResult.from_prediction(image, *found, self.classes)


def load(
    model: Union[None, str, "os.PathLike[str]"] = None,
    *,
    backend: Optional[str] = None,
    device: Optional[str] = None,
    threads: int = 0,
    precision: Optional[str] = None,
    confidence_threshold: Optional[float] = None,
    max_megapixels: float = MAX_MEGAPIXELS,
    overrides: Sequence[str] = (),
    allow_unsafe: bool = False,
) -> PanopticModel:
    """Open a model.

    Args:
        model: a model folder, as training and ``effps-solo pack`` write it, an exported file (.onnx,
            .xml, .pt2), a config (.yaml) or a checkpoint (.pth) with its ``config.yaml`` in the same
            folder. A config whose ``MODEL.WEIGHTS`` are none or ImageNet's means
            ``OUTPUT_DIR/model_final.pth``. Or the name of a model that comes with the package:
            "nuclei", "facades" or "street_scenes", the generated ones, which None means, too.
        backend: "torch", "onnx" or "openvino"; None: by the suffix. Of a model folder the network runs
            in torch, and without torch or Detectron2 an exported file in it, model.onnx, .xml or .pt2.
        device: "cpu" or "cuda", for configs and checkpoints; None: what the config says.
        threads: of the CPU; 0: the runtime decides.
        precision: "fp32" or "bf16". None: what ``TEST.AMP`` of a config says; OpenVINO computes in
            bf16 where the processor has units for it, the other runtimes in fp32.
        confidence_threshold: lowest score of a thing, in [0, 1]; None: the config's. An exported
            model knows its own and can only be made stricter; what is dropped there becomes void.
        max_megapixels: larger images are refused, in millions of pixels.
        overrides: KEY VALUE KEY VALUE ... of a config, e.g. ("MODEL.WEIGHTS", "model.pth").
        allow_unsafe: load files that can run code; only for those that you trust.

    Raises:
        UserError: no such file, or one that cannot be used; the message says what to do.
        ModuleNotFoundError: what runs it is not installed.
    """
    check_precision(precision)
    _check_threshold(confidence_threshold)
    path = SHIPPED_MODEL if model is None else located_model(model)
    if path.is_dir():
        path = _exported_in(path, backend) or path
    if path.suffix in EXPORTED_SUFFIXES:
        if overrides or device:
            raise UserError(f"{path} is exported: overrides and a device are for configs")
        exported = load_exported(path, threads, backend, precision, allow_unsafe)
        model_of_file = PanopticModel(exported, max_megapixels)
        if confidence_threshold is not None:
            model_of_file.confidence_threshold = confidence_threshold
        return model_of_file
    if not path.is_dir() and path.suffix not in TORCH_SUFFIXES:
        known = ", ".join(TORCH_SUFFIXES + EXPORTED_SUFFIXES)
        raise UserError(
            f"{path} is no model: its name must end in one of {known}, or be that of a folder or of a model "
            f"of the package: {', '.join(packaged_models())}"
        )
    if backend not in (None, "torch"):
        raise UserError(
            f"{path} runs in torch; for the backend '{backend}' export it: `effps-solo export`"
        )
    words = [*overrides, *override_words(device, precision, confidence_threshold)]
    return PanopticModel(_torch_predictor(path, words, threads, allow_unsafe), max_megapixels)


def _check_threshold(value: Optional[float]) -> None:
    if value is not None and not 0 <= value <= 1:
        raise UserError(f"the confidence threshold is {value}; it is in [0, 1]")


def override_words(
    device: Optional[str] = None,
    precision: Optional[str] = None,
    confidence_threshold: Optional[float] = None,
) -> List[str]:
    """KEY VALUE ... of a config for these arguments of :func:`load`."""
    words = []
    if device:
        words += ["MODEL.DEVICE", device]
    if precision:
        words += ["TEST.AMP.ENABLED", str(precision != "fp32")]
        words += [] if precision == "fp32" else ["TEST.AMP.PRECISION", precision]
    if confidence_threshold is not None:
        words += ["MODEL.PANOPTIC_FUSION.SCORE_THRESH", str(float(confidence_threshold))]
    return words


def _exported_in(folder: Path, backend: Optional[str]) -> Optional[Path]:
    """The exported file of a model folder to use: for ``backend``, or where its network cannot run here.

    None: the network itself is to run. Raises UserError where nothing can.
    """
    files = {path.suffix: path for path in folder.glob("model.*")}
    has_network = {WEIGHTS_NAME, CLASSES_NAME} <= {path.name for path in folder.iterdir()}
    if has_network and backend in (None, "torch") and all(map(_is_installed, _NETWORK_NEEDS)):
        return None
    names = [backend] if backend else [name for name in BACKENDS if _is_installed(_RUNTIME[name])]
    for suffix in (suffix for name in names if name in BACKENDS for suffix in BACKENDS[name][1]):
        if suffix in files:
            return files[suffix]
    if not has_network and not set(files) & set(EXPORTED_SUFFIXES):
        within = f"; {folder / FOLDER_NAME} is one" if (folder / FOLDER_NAME).is_dir() else ""
        raise UserError(
            f"{folder} is no model folder: it has no {WEIGHTS_NAME} and {CLASSES_NAME}{within}"
        )
    make = f"`effps-solo export --model {folder} --output {folder / 'model.onnx'} --any-size`"
    if backend:
        raise UserError(
            f"{folder} has no exported file for the backend '{backend}'; make one: {make}"
        )
    raise UserError(
        f"{folder} needs torch and Detectron2, which are not installed here (`effps-solo env` says how), or "
        f"an exported file in it and its runtime: where torch is, {make}; here pip install onnxruntime"
    )


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _torch_predictor(
    path: Path, overrides: List[str], threads: int, allow_unsafe: bool
) -> PanopticPredictor:
    """That of a model folder, a config, or a checkpoint with its config beside it."""
    if not path.exists():
        raise UserError(f"{path} does not exist")

    import torch

    from .model_config import load_model_config
    from .predictor import Predictor, for_panoptic_maps

    if threads:
        torch.set_num_threads(threads)
    cfg = load_model_config(path, overrides, allow_unsafe)
    for_panoptic_maps(cfg)
    return Predictor(cfg, allow_unsafe=allow_unsafe)
