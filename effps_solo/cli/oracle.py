"""``effps-solo oracle``: the PQ that a perfect network could reach with a config."""

import argparse
import os

from .arguments import add_config_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Config, kind of masks, overrides."""
    parser.add_argument("--config-file", required=True, metavar="FILE", help="grids and data set")
    parser.add_argument(
        "--masks",
        choices=("soft", "binary"),
        default="soft",
        help="stride-4 masks that hold the covered fraction (soft) or one bit (binary)",
    )
    parser.epilog = "Its files go to OUTPUT_DIR/oracle, beside the evaluations of trained models."
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate the ground truth itself; prints the table of PQ. Returns 0."""
    from detectron2.evaluation import inference_on_dataset

    from effps_solo.config import load_config
    from effps_solo.data.build import build_test_loader
    from effps_solo.engine import start_log
    from effps_solo.evaluation import build_evaluator
    from effps_solo.evaluation.oracle import OracleMapper, OracleModel

    start_log()
    overrides = [*args.opts, "MODEL.OUTPUTS", "['panoptic_seg']"]
    cfg = load_config(args.config_file, overrides, allow_unsafe=args.allow_unsafe)
    for name in cfg.DATASETS.TEST:
        loader = build_test_loader(cfg, name, OracleMapper(cfg, True))
        evaluator = build_evaluator(cfg, name, os.path.join(cfg.OUTPUT_DIR, "oracle", name))
        inference_on_dataset(OracleModel(cfg, args.masks), loader, evaluator)
    return 0
