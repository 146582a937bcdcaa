"""From a trained model to files: ExportedProgram (.pt2), ONNX (.onnx), OpenVINO IR (.xml)."""

import dataclasses
import inspect
import logging
import math
import os
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Tuple

import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T

from effps_solo.config import classes_of_data
from effps_solo.data.augmentation import build_augmentations
from effps_solo.inference.exported.description import KEY, ModelDescription, Size
from effps_solo.inference.exported.sessions import (
    DESCRIPTION_FILE,
    INPUT_NAME,
    OUTPUT_NAMES,
)
from effps_solo.modeling.meta_arch import EfficientPS
from effps_solo.utils.errors import ConfigError

from .checks import check_exportable, check_formats
from .graph import PanopticGraph
from .quantization import quantized, write_quantized_onnx

logger = logging.getLogger("effps_solo.export")
# Pixels; with fewer the coarsest level of the network is a special case.
MIN_NETWORK_SIDE, MAX_SIDE = 96, 16384
_PROBES = ((99, 163), (1080, 1920))  # images of very different sizes
OPSET = 18  # the first with reductions in ScatterElements and antialiasing; that of :func:`_sort_stable`


def describe(cfg: CfgNode, image_size: Optional[Size], config_name: str) -> ModelDescription:
    """What the exported file says about itself.

    Args:
        image_size: (H, W) of the images before preprocessing; None: any.

    Raises:
        ConfigError: a part of the model cannot be exported, or not for images of any size.
    """
    check_exportable(cfg)
    fixed = ModelDescription(
        image_format=cfg.INPUT.FORMAT,
        input_size=None if image_size is None else _network_size(cfg, image_size),
        output_size=image_size,
        classes=classes_of_data(cfg),
        config=config_name,
    )
    if image_size is not None:
        return fixed
    _check_any_size(cfg)
    mean = [min(max(round(value), 0), 255) for value in cfg.MODEL.PIXEL_MEAN]
    return dataclasses.replace(
        fixed, min_side=_least_side(_scale(cfg)), padding=(mean[0], mean[1], mean[2])
    )


def _scale(cfg: CfgNode) -> Fraction:
    """By which a graph for any size enlarges its image."""
    return Fraction(str(cfg.INPUT.TEST_SCALE))


def _check_any_size(cfg: CfgNode) -> None:
    """Raise ConfigError where the config resizes images otherwise, or makes them smaller."""
    scale = _scale(cfg)
    if scale < 1:
        raise ConfigError(
            f"--any-size: INPUT.TEST_SCALE is {cfg.INPUT.TEST_SCALE}, which makes images smaller; name one "
            "size with --image-size"
        )
    for size in _PROBES:
        network_size = _network_size(cfg, size)
        if network_size != tuple(int(side * scale + Fraction(1, 2)) for side in size):
            raise ConfigError(
                f"--any-size: the config resizes images at test time, {size} to {network_size}; name "
                "one size with --image-size, or set INPUT.BASE_SHORTEST_EDGE 0 and "
                "INPUT.AUGMENTATION scale_crop"
            )


def _least_side(scale: Fraction) -> int:
    return math.ceil(MIN_NETWORK_SIDE / scale)


def _network_size(cfg: CfgNode, image_size: Size) -> Size:
    """(h, w) that the test augmentation makes of an image of (H, W)."""
    aug_input = T.AugInput(torch.zeros(*image_size, 3, dtype=torch.uint8).numpy())
    T.AugmentationList(build_augmentations(cfg, is_train=False))(aug_input)
    height, width = aug_input.image.shape[:2]
    return height, width


def trace(
    model: EfficientPS, description: ModelDescription, cfg: CfgNode
) -> torch.export.ExportedProgram:
    """The graph of :class:`PanopticGraph` for the sizes of ``description``, which is of ``cfg``."""
    size, scale = description.input_size, Fraction(1)
    options: Dict[str, Any] = {}
    if size is None:
        scale = _scale(cfg)
        least = _least_side(scale)
        # Unequal sides that are multiples of nothing, so that no size is taken for another.
        size = (least + 135, least + 261)
        sides = (torch.export.Dim(name, min=least, max=MAX_SIDE) for name in ("rows", "columns"))
        options = _options_of_any_size((dict(enumerate(sides)),))
    graph = PanopticGraph(model, description.output_size, scale).eval()
    image = torch.zeros(*size, 3, dtype=torch.uint8)
    with torch.no_grad():
        return torch.export.export(graph, (image,), strict=False, **options)


def _options_of_any_size(dynamic_shapes: Any) -> Dict[str, Any]:
    """Of ``torch.export.export``."""
    # Of rounded sides the solver cannot prove what is true of all: that 1 is no multiple of 2.
    unproved = "prefer_deferred_runtime_asserts_over_guards"
    if unproved not in inspect.signature(torch.export.export).parameters:
        raise ConfigError(f"--any-size needs a newer torch than {torch.__version__}")
    return {"dynamic_shapes": dynamic_shapes, unproved: True}


def save(
    program: torch.export.ExportedProgram,
    description: ModelDescription,
    paths: Sequence[Path],
    calibration: Optional[Sequence[Path]] = None,
) -> None:
    """Write ``program`` in the formats that the suffixes tell, each file whole or not at all.

    Args:
        calibration: images to quantise with, see :mod:`effps_solo.export.quantization`; None: fp32.

    Raises:
        ConfigError: unknown suffix, or one of files that cannot be quantised.
        ModuleNotFoundError: what makes such files is not installed.
    """
    check_formats(paths, calibration is not None)
    if calibration is not None:
        description = dataclasses.replace(description, precision="int8")
    with tempfile.TemporaryDirectory() as folder:
        onnx_path = os.path.join(folder, "model.onnx")
        if any(path.suffix in (".onnx", ".xml") for path in paths):
            logger.info("converting to ONNX ...")
            # torch converts a program once, so both formats share the file.
            _write_onnx(program, description, onnx_path)
        for path in paths:
            how = "writing" if calibration is None else "quantising"
            logger.info("%s %s ...", how, path)
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as beside:
                target = os.path.join(beside, path.name)
                if path.suffix == ".pt2":
                    extra = {DESCRIPTION_FILE: description.to_json()}
                    torch.export.save(program, target, extra_files=extra)
                elif path.suffix == ".onnx" and calibration is not None:
                    write_quantized_onnx(onnx_path, target, calibration, description)
                elif path.suffix == ".onnx":
                    shutil.copyfile(onnx_path, target)
                else:
                    _write_openvino(onnx_path, description, target, calibration)
                _move_files(Path(beside), path.parent)


def _move_files(source: Path, target: Path) -> None:
    """Move all files; the weights of an .xml, which it names, before itself."""
    for path in sorted(source.iterdir(), key=lambda path: path.suffix == ".xml"):
        os.replace(path, target / path.name)


def _write_onnx(
    program: torch.export.ExportedProgram, description: ModelDescription, path: str
) -> None:
    onnx_program = torch.onnx.export(
        program,
        dynamo=True,
        optimize=True,
        opset_version=OPSET,
        custom_translation_table={torch.ops.aten.sort.stable: _sort_stable},  # torch lacks it
        input_names=[INPUT_NAME],
        output_names=list(OUTPUT_NAMES),
        verbose=False,
    )
    assert onnx_program is not None  # it is, where no file is named
    onnx_program.model.metadata_props[KEY] = description.to_json()
    onnx_program.save(path)


def _sort_stable(
    x: Any, stable: bool = True, dim: int = -1, descending: bool = False
) -> Tuple[Any, Any]:
    """``aten.sort.stable``: ONNX's TopK puts the earlier of equal values first."""
    from onnxscript import opset18 as op  # seconds, which .pt2 does not need

    length: Any = op.Shape(x, start=dim, end=dim + 1 if dim != -1 else None)
    return op.TopK(x, length, axis=dim, largest=int(descending), sorted=1)


def _write_openvino(
    onnx_path: str,
    description: ModelDescription,
    path: str,
    calibration: Optional[Sequence[Path]],
) -> None:
    import openvino

    # convert_model would move a transpose past a squeeze, and the mask features were copied twice.
    model = openvino.Core().read_model(onnx_path)
    if calibration is not None:
        model = quantized(model, calibration, description)
    model.set_rt_info(description.to_json(), [KEY])
    openvino.save_model(model, path, compress_to_fp16=False)
