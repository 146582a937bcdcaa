"""``effps-solo check-dataset``: everything that is wrong with a data set, in one run."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, List, Sequence, Tuple

from effps_solo.utils.errors import INTERRUPTED, UserError
from effps_solo.utils.machine import num_cores

from .arguments import add_config_options, regular_expression

if TYPE_CHECKING:
    from effps_solo.data.checks.plan import PanopticSource
    from effps_solo.data.checks.run import CheckedDataset, ExpectedCount

REPORT_NAME, PICTURE_NAME = "check_dataset.json", "check_dataset.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A config or paths; what to make of the findings."""
    parser.epilog = (
        "exit status: 0 nothing or hints, 3 warnings, 4 errors; 2 input that cannot be used"
    )
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="check its DATASETS.TRAIN and TEST")
    add(
        "--description",
        nargs="+",
        default=[],
        metavar="FILE",
        help="or: check all splits of the data sets that these files describe",
    )
    add("--panoptic-json", nargs="+", default=[], metavar="FILE", help="or: one file for a split,")
    add("--panoptic-png", nargs="+", default=[], metavar="DIR", help="as many folders of its PNGs")
    add("--images", nargs="+", default=[], metavar="DIR", help="and as many of its images")
    add(
        "--instances-json",
        nargs="+",
        default=[],
        metavar="FILE",
        help="COCO instance annotations of each data set; their masks are checked, too",
    )
    add(
        "--fix",
        default="",
        metavar="PATH",
        help="write a JSON with areas and boxes counted anew; a folder of them for several splits",
    )
    add(
        "--group-by",
        type=regular_expression,
        metavar="REGEX",
        help="hint at images in several splits whose names have the same match, or the same first group of "
        "it (default: names that differ in their last number)",
    )
    add("--output", default="", metavar="DIR", help=f"write {REPORT_NAME} and {PICTURE_NAME}")
    add("--json", action="store_true", help="print one JSON object with every finding")
    add(
        "--max-examples",
        type=int,
        default=3,
        metavar="N",
        help="findings shown of each kind (default: %(default)s; 0: all)",
    )
    add("--workers", type=int, default=num_cores(), metavar="N", help="processes (%(default)s)")
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Check, report, repair. Returns the exit status; see the epilog."""
    from effps_solo.data.checks.repair import repair_json
    from effps_solo.data.checks.report import as_dict, as_text, exit_status
    from effps_solo.data.checks.run import check_datasets

    sources, expected, known = _sources(args)
    fixed = _fixed_paths(args.fix, sources)
    progress = sys.stderr.isatty()
    try:
        checked = check_datasets(
            sources,
            expected=expected,
            known=known,
            group_by=args.group_by,
            num_workers=args.workers,
            show_progress=progress,
        )
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    report = json.dumps(as_dict(checked), indent=2)
    print(report if args.json else as_text(checked, args.max_examples))
    if args.output:
        _write_output(Path(args.output), report, checked)
    for dataset, path in zip(checked, fixed):
        parts = [f"{what} {count} times" for what, count in repair_json(dataset, path).items()]
        print(f"{path}: changed {', '.join(parts) or 'nothing'}", file=sys.stderr)
    return exit_status(checked)


Sources = List["PanopticSource"]


def _sources(args: argparse.Namespace) -> Tuple[Sources, List["ExpectedCount"], Sources]:
    """What to check, the class counts that a config states, and splits that only list files."""
    from effps_solo.config import read_config
    from effps_solo.data.checks import sources as find
    from effps_solo.data.checks.plan import PanopticSource

    paths = (args.panoptic_json, args.panoptic_png, args.images)
    ways = [bool(args.config_file), bool(args.description), any(paths)]
    if sum(ways) != 1:
        raise UserError(
            "name --config-file, or --description, or --panoptic-json, --panoptic-png and --images"
        )
    expected: List["ExpectedCount"] = []
    known: Sources = []
    if args.config_file:
        cfg = read_config(args.config_file, args.opts, allow_unsafe=args.allow_unsafe)
        sources, expected = find.sources_from_config(cfg), find.counts_from_config(cfg)
        known = find.other_splits_of_config(cfg)
    elif args.description:
        sources = find.sources_from_descriptions(args.description)
    elif len({len(names) for names in paths}) > 1:
        raise UserError("--panoptic-json, --panoptic-png and --images need as many names each")
    else:
        sources = [
            PanopticSource(Path(file).stem, images, png, file) for file, png, images in zip(*paths)
        ]
    return find.with_instances(sources, args.instances_json), expected, known


def _fixed_paths(fix: str, sources: Sequence["PanopticSource"]) -> List[str]:
    """The new JSON of every source, none without ``--fix``. Raises UserError if one exists."""
    if not fix:
        return []
    paths = [fix]
    if len(sources) > 1:
        paths = [os.path.join(fix, os.path.basename(source.panoptic_json)) for source in sources]
    if len(set(paths)) < len(paths):
        raise UserError(f"the JSON files {paths} have one name; repair them one by one")
    for path in paths:
        if os.path.lexists(path):
            raise UserError(f"--fix '{path}' exists already; name something new")
    return paths


def _write_output(folder: Path, report: str, checked: Sequence["CheckedDataset"]) -> None:
    from effps_solo.data.checks.histograms import draw_histograms

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / REPORT_NAME).write_text(f"{report}\n", encoding="utf-8")
        draw_histograms(checked, folder / PICTURE_NAME)
    except OSError as error:
        raise UserError(f"cannot write to --output '{folder}': {error.strerror}") from error
    print(f"written: {folder / REPORT_NAME}, {folder / PICTURE_NAME}", file=sys.stderr)
