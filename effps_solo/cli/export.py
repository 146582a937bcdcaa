"""``effps-solo export``: a trained model as one graph, for ONNX Runtime, OpenVINO or torch."""

import argparse
import logging
from pathlib import Path
from typing import List

from .arguments import TRAINED, add_config_options, positive
from .predict import find_inputs

logger = logging.getLogger("effps_solo.export")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model, an image size, files to write."""
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--config-file", metavar="FILE", help="the config of a trained model")
    model.add_argument("--model", metavar="PATH", help="or a model folder, or a checkpoint (.pth)")
    parser.add_argument(
        "--output",
        required=True,
        nargs="+",
        type=Path,
        metavar="FILE",
        help="files to write: .onnx (ONNX), .xml (OpenVINO), .pt2 (torch.export); as model.onnx, .xml or "
        ".pt2 in a model folder they are used where there is no torch",
    )
    sizes = parser.add_mutually_exclusive_group(required=True)
    sizes.add_argument(
        "--image-size",
        nargs=2,
        type=positive,
        metavar=("HEIGHT", "WIDTH"),
        help="pixels of the images that it will see, before any resizing",
    )
    sizes.add_argument(
        "--any-size",
        action="store_true",
        help="for images of every size, up to 16384 pixels; not with configs that bring them to one size",
    )
    parser.add_argument(
        "--int8",
        nargs="*",
        metavar="PATH",
        help="quantise the convolutions of .onnx and .xml files, with ranges from these images and folders; "
        "without a name from the training images of the config",
    )
    add_config_options(parser, TRAINED)


def run(args: argparse.Namespace) -> int:
    """Trace the model once, write every file and try it. Returns 0."""
    from detectron2.utils.logger import setup_logger

    from effps_solo.export import check_formats, compared_with_torch, describe, save, trace
    from effps_solo.inference.model_config import load_model_config
    from effps_solo.inference.predictor import Predictor

    setup_logger(name="effps_solo")
    check_formats(args.output, args.int8 is not None)
    overrides = [*args.opts, "MODEL.OUTPUTS", "('panoptic_seg',)", "MODEL.DEVICE", "cpu"]
    # What torch.compile made cannot be traced, and the graph has the image at one scale.
    overrides += ["TEST.COMPILE", "False", "TEST.AUG.ENABLED", "False"]
    path = args.config_file or args.model
    cfg = load_model_config(path, overrides, args.allow_unsafe)
    size = None if args.any_size else tuple(args.image_size)
    description = describe(cfg, size, Path(path).name)
    calibration = None
    if args.int8 is not None:
        calibration = find_inputs(args.int8) if args.int8 else _training_images(args)
    logger.info("tracing the model ...")
    predictor = Predictor(cfg, allow_unsafe=args.allow_unsafe)
    save(trace(predictor.model, description, cfg), description, args.output, calibration)
    for line in compared_with_torch(args.output, predictor, calibration):
        logger.info("%s", line)
    return 0


def _training_images(args: argparse.Namespace) -> List[Path]:
    from detectron2.data import DatasetCatalog

    from effps_solo.config import load_config
    from effps_solo.utils.errors import ConfigError

    if not args.config_file:
        raise ConfigError(
            "--int8 names no image, and a model knows none of its training; name some like those that it "
            "will see, or export with --config-file instead of --model"
        )
    names = load_config(args.config_file, args.opts, args.allow_unsafe).DATASETS.TRAIN
    records = [record for name in names for record in DatasetCatalog.get(name)]
    if not records:
        raise ConfigError("--int8 names no image, and DATASETS.TRAIN has none")
    return [Path(record["file_name"]) for record in records]
