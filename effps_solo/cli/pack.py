"""``effps-solo pack``: a trained model as one folder that needs no data set."""

import argparse
import os
from pathlib import Path

from effps_solo.checkpoint.model_folder import FOLDER_NAME

from .arguments import TRAINED, add_config_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A trained model, a folder, what the card cannot know."""
    parser.epilog = (
        "Without MODEL.WEIGHTS it takes OUTPUT_DIR/model_best.pth, or where there is none model_final.pth. "
        "The folder is for load(), predict, app, export, evaluate and MODEL.WEIGHTS."
    )
    add = parser.add_argument
    add(
        "--config-file",
        required=True,
        metavar="PATH",
        help="the config of a trained model, its checkpoint (.pth), or a model folder",
    )
    add(
        "--output",
        metavar="FOLDER",
        help=f"new, empty or a model folder, whose place it takes (default: OUTPUT_DIR/{FOLDER_NAME})",
    )
    add("--licence", default="", help="of the weights, for the card; it depends on the data, too")
    add("--half", action="store_true", help="kernels in 16 bits: half the size")
    add_config_options(parser, TRAINED)


def run(args: argparse.Namespace) -> int:
    """Write the folder. Returns 0."""
    from detectron2.utils.logger import setup_logger

    from effps_solo.inference.model_config import BEST_WEIGHTS, FINAL_WEIGHTS, read_model_config
    from effps_solo.inference.pack import pack

    setup_logger(name="effps_solo")
    trained = (BEST_WEIGHTS, FINAL_WEIGHTS)
    cfg = read_model_config(args.config_file, args.opts, args.allow_unsafe, trained)
    folder = Path(args.output or os.path.join(cfg.OUTPUT_DIR, FOLDER_NAME))
    pack(cfg, folder, licence=args.licence, half=args.half, allow_unsafe=args.allow_unsafe)
    return 0
