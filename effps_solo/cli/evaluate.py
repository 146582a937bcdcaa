"""``effps-solo evaluate``: the quality of a trained or an exported model."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict

from effps_solo.inference.exported import EXPORTED_SUFFIXES
from effps_solo.utils.atomic import make_writable
from effps_solo.utils.errors import ConfigError

from .arguments import add_config_options, add_runtime_options

if TYPE_CHECKING:
    from detectron2.config import CfgNode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data sets, the model, its runtime."""
    parser.epilog = (
        "The model is used as it was trained: of the config file and --opts it takes the data sets, and "
        "of --opts other keys, too. Its classes are matched with theirs by name. The output has the same "
        "files as `effps-solo train --eval-only`: `effps-solo report RUN RUN` compares the two."
    )
    add = parser.add_argument
    add(
        "--config-file",
        metavar="FILE",
        help="whose DATASETS.TEST to evaluate on (default: the model's)",
    )
    add(
        "--model",
        required=True,
        metavar="PATH",
        help="a model folder, a checkpoint (.pth), or an exported model: .onnx, .xml, .pt2",
    )
    add("--output", required=True, metavar="DIR", help="folder for predictions, results and report")
    add_runtime_options(parser)
    add_config_options(parser, "DATASETS.PANOPTIC.ROOT my_data")


def run(args: argparse.Namespace) -> int:
    """Evaluate, print tables of PQ, mIoU and AP, write the report. Returns 0."""
    from effps_solo.engine import start_log
    from effps_solo.report import write_reports

    start_log()
    is_exported = args.model.endswith(EXPORTED_SUFFIXES)
    cfg = _config(args, is_exported)
    make_writable(Path(args.output), "--output")
    write_reports(cfg, (_of_exported if is_exported else _of_trained)(args, cfg))
    return 0


def _config(args: argparse.Namespace, is_exported: bool) -> "CfgNode":
    """That of the model, or of an exported one what its evaluation needs, on the data sets to evaluate on."""
    from effps_solo.config import load_config
    from effps_solo.config.setup import read_config, with_data_sets, with_open_class_counts
    from effps_solo.inference.load import override_words
    from effps_solo.inference.model_config import read_model_config

    words = [*args.opts, "OUTPUT_DIR", args.output]
    if is_exported:
        if not args.config_file:
            raise ConfigError(f"{args.model} names no data sets; add --config-file")
        words += ["MODEL.OUTPUTS", "['panoptic_seg']"]
        return load_config(args.config_file, words, allow_unsafe=args.allow_unsafe)
    words = [*args.opts, *override_words(precision=args.precision)]
    cfg = read_model_config(args.model, words, args.allow_unsafe)
    if args.config_file:
        cfg.DATASETS = read_config(args.config_file, args.opts, args.allow_unsafe).DATASETS
    if not cfg.DATASETS.TEST:
        raise ConfigError("DATASETS.TEST names no data set to evaluate on")
    # The network is built for their classes, and its weights are matched with them.
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST
    with_open_class_counts(cfg)
    with_data_sets(cfg)
    cfg.OUTPUT_DIR = args.output
    return cfg


def _of_exported(args: argparse.Namespace, cfg: "CfgNode") -> Dict[str, Any]:
    from effps_solo.evaluation.exported import evaluate_exported
    from effps_solo.inference.exported import load_exported

    predictor = load_exported(
        args.model, args.threads, args.backend, args.precision, args.allow_unsafe
    )
    return evaluate_exported(cfg, predictor)


def _of_trained(args: argparse.Namespace, cfg: "CfgNode") -> Dict[str, Any]:
    import torch

    from effps_solo.engine import Trainer
    from effps_solo.inference.predictor import trained_model

    if args.backend not in (None, "torch"):
        raise ConfigError(
            f"{args.model} runs in torch; evaluate what `effps-solo export` makes of it"
        )
    if args.threads:
        torch.set_num_threads(args.threads)
    return Trainer.test(cfg, trained_model(cfg, args.allow_unsafe))
