"""``effps-solo analyze``: parameters, arithmetic and time of a model by module."""

import argparse
import json
from typing import Any, Dict, List

from .arguments import RANDOM, add_config_options, positive
from .benchmark import DEFAULT_SIZE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model, an image size, how deep to look."""
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="the model's config")
    add(
        "--image-size",
        nargs=2,
        type=positive,
        default=DEFAULT_SIZE,
        metavar=("HEIGHT", "WIDTH"),
        help=f"of the synthetic image (default: {DEFAULT_SIZE[0]} {DEFAULT_SIZE[1]})",
    )
    add(
        "--depth",
        type=positive,
        default=1,
        metavar="N",
        help="1: backbone, heads and fusion; 2: their parts; and so on (%(default)s)",
    )
    add("--runs", type=positive, default=5, metavar="N", help="to measure (%(default)s)")
    add("--threads", type=positive, metavar="N", help="of the CPU (default: all cores)")
    add("--json", action="store_true", help="print one JSON object")
    add_config_options(parser, RANDOM)


def run(args: argparse.Namespace) -> int:
    """Print the table. Returns 0."""
    from detectron2.modeling import build_model

    from effps_solo.benchmark.analysis import analyze
    from effps_solo.benchmark.images import synthetic_image
    from effps_solo.benchmark.torch_backends import open_config, open_predictor
    from effps_solo.benchmark.worker import Task
    from effps_solo.utils.machine import num_cores

    threads, size = args.threads or num_cores(), tuple(args.image_size)
    settings = (args.config_file, tuple(args.opts), args.allow_unsafe, threads)
    cfg = open_config(Task("torch", *settings, (), size))
    predictor = open_predictor(cfg, args.allow_unsafe)
    image = synthetic_image(size, 0)
    rows = analyze(predictor, image, args.depth, args.runs, build_model(cfg))
    summary = {"config": args.config_file, "size": size, "threads": threads, "modules": rows}
    print(json.dumps(summary, indent=1) if args.json else _as_text(rows))
    return 0


def _as_text(rows: List[Dict[str, Any]]) -> str:
    from effps_solo.benchmark.report import table

    whole = {key: sum(row[key] for row in rows) for key in ("parameters", "macs", "seconds")}
    cells = [
        [
            row["module"],
            f"{row['parameters'] / 1e6:.3f}",
            f"{row['macs'] / 1e9:.3f}",
            f"{row['seconds'] * 1e3:.1f}",
            f"{100 * row['share']:.1f}",
        ]
        for row in [*rows, {"module": "sum", "share": 1.0, **whole}]
    ]
    return table(["module", "parameters M", "GMAC", "ms", "% of time"], cells)
