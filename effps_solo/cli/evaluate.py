"""``effps-solo evaluate``: the panoptic quality of an exported model."""

import argparse
from pathlib import Path

from .arguments import add_config_options, add_runtime_options
from .output_folder import make_writable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data sets, the file, its runtime."""
    parser.epilog = (
        "Trained models are evaluated by train_net.py --eval-only. The output has the same files: "
        "`effps-solo report RUN RUN` compares the two."
    )
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="whose DATASETS.TEST to evaluate on")
    add("--model", required=True, metavar="FILE", help="an exported model: .onnx, .xml, .pt2")
    add("--output", required=True, metavar="DIR", help="folder for predictions, results and report")
    add_runtime_options(parser)
    add_config_options(parser, "DATASETS.PANOPTIC.ROOT my_data")


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table of PQ, write the report. Returns 0."""
    from detectron2.utils.logger import setup_logger

    from effps_solo.config import load_config
    from effps_solo.evaluation.exported import evaluate_exported
    from effps_solo.inference.exported import load_exported
    from effps_solo.report import write_reports

    setup_logger()
    setup_logger(name="effps_solo")
    overrides = [*args.opts, "MODEL.OUTPUTS", "['panoptic_seg']", "OUTPUT_DIR", args.output]
    cfg = load_config(args.config_file, overrides, allow_unsafe=args.allow_unsafe)
    make_writable(Path(args.output))
    predictor = load_exported(
        args.model, args.threads, args.backend, args.precision, args.allow_unsafe
    )
    write_reports(cfg, evaluate_exported(cfg, predictor))
    return 0
