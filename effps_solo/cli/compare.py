"""``effps-solo compare``: train the methods of a table alike, and report which differences are real."""

import argparse
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Dict, Iterator, Optional, Sequence, Set

from effps_solo.utils.atomic import make_writable
from effps_solo.utils.errors import INTERRUPTED, UserError

from .arguments import positive

if TYPE_CHECKING:
    from effps_solo.comparison.plan import Plan, Run
    from effps_solo.comparison.runner import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The table, where to train, which runs."""
    parser.epilog = (
        "Run again, it goes on where it was stopped; runs that have a result are left alone. Exit status: "
        "1 when runs failed, which do not keep the others from going on."
    )
    add = parser.add_argument
    add(
        "--table",
        default="configs/comparison.yaml",
        metavar="FILE",
        help="YAML file of methods and data sets (%(default)s)",
    )
    add(
        "--output",
        default="output/comparison",
        metavar="DIR",
        help="a folder for each run, and the report (%(default)s)",
    )
    add(
        "--only",
        nargs="+",
        default=[],
        metavar="GLOB",
        help="train only these runs, such as 'nuclei/*' or '*/seed1'",
    )
    add(
        "--threads",
        type=positive,
        metavar="N",
        help="processor threads of each run (default: torch's)",
    )
    add("--list", action="store_true", help="only list the runs and how far they are")
    add("--report", action="store_true", help="only write the report of the runs that are done")


def run(args: argparse.Namespace) -> int:
    """Train what has no result yet, then report. Returns 0; 1 when runs failed; 130 after Ctrl-C."""
    from effps_solo.comparison.plan import choose_runs, read_table

    plan, output = read_table(Path(args.table)), Path(args.output)
    runs = choose_runs(plan, args.only)
    if args.list:
        for each in runs:
            print(f"{_state(each, output):8} {each.name}")
        return 0
    make_writable(output, "--output")
    try:
        with _stop_on_signals():
            failed = set() if args.report else _complete_all(runs, output, args.threads)
    except KeyboardInterrupt:
        print("stopped; run it again to go on", file=sys.stderr)
        return INTERRUPTED
    _report(plan, output, failed)
    return 1 if failed else 0


def _state(run: "Run", output: Path) -> str:
    from effps_solo.comparison.runner import RESULT_NAME

    folder = output / run.name
    if (folder / RESULT_NAME).is_file():
        return "done"
    return "begun" if folder.is_dir() else "to do"


@contextmanager
def _stop_on_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt on ``kill`` and a closed terminal, too; nohup stays in force."""
    handled = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in handled.items():
        if handler is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)


def _complete_all(runs: Sequence["Run"], output: Path, num_threads: Optional[int]) -> Set["Run"]:
    """Do all runs, one after the other; returns those that failed."""
    from effps_solo.comparison.metrics import SCORES
    from effps_solo.comparison.runner import LOG_NAME, check_run, complete_run, load_result

    for run in runs:
        check_run(run)
    failed = set()
    for number, run in enumerate(runs, 1):
        head = f"[{number}/{len(runs)}] {run.name}:"
        try:
            if load_result(run, output) is None:
                print(f"{head} training, log in {output / run.name / LOG_NAME}", flush=True)
            result = complete_run(run, output, num_threads)
        except UserError as error:
            failed.add(run)
            print(f"{head} failed: {error}", file=sys.stderr, flush=True)
            continue
        scores = (f"{metric.title} {metric.text(result.get(metric.key))}" for metric in SCORES)
        print(f"{head} {', '.join(scores)}", flush=True)
    return failed


def _report(plan: "Plan", output: Path, failed: Set["Run"]) -> None:
    """Write and print the report of all runs of the table that are done and did not fail now."""
    from effps_solo.comparison.report import write_report
    from effps_solo.comparison.runner import RunFailed, load_result

    results: Dict["Run", "Result"] = {}
    for run in plan.runs:
        try:
            result = None if run in failed else load_result(run, output)
        except RunFailed as error:
            print(error, file=sys.stderr)
            continue
        if result is not None:
            results[run] = result
    text, paths = write_report(plan, results, output)
    print(f"\n{text}\n" + "\n".join(map(str, paths)))
