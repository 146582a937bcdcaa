"""``effps-solo report``: where a model is good and where it fails, or what changed between two."""

import argparse
from pathlib import Path

from effps_solo.utils.atomic import make_writable

from .arguments import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The runs and the file."""
    parser.epilog = (
        "A run is the OUTPUT_DIR of a training or of `effps-solo train --eval-only`, or the folder of one "
        "evaluated data set in it. Images and ground truth are read where they were at that time."
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="one run to report on, or two to compare")
    add("--data-set", default="", metavar="NAME", help="which one, where a run has several")
    add("--output", metavar="FILE", help="HTML file (default: report.html or comparison.html)")
    add(
        "--images",
        type=positive,
        default=6,
        metavar="N",
        help="so many of the worst images and as many of the best (%(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the file. Raises UserError when a run is not there or two cannot be compared."""
    from effps_solo.report import open_run, write_comparison, write_report
    from effps_solo.utils.errors import UserError

    if len(args.runs) > 2:
        raise UserError(f"one run or two, not {len(args.runs)}")
    runs = [open_run(Path(path), args.data_set) for path in args.runs]
    path = Path(args.output or ("report.html" if len(runs) == 1 else "comparison.html"))
    make_writable(path.parent, "--output")
    if len(runs) == 1:
        write_report(runs[0], path, args.images)
    else:
        write_comparison(runs[0], runs[1], path, args.images)
    print(path)
    return 0
