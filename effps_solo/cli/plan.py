"""``effps-solo plan``: a config for a data set and this machine, every value with its reason."""

import argparse
import logging
import math
import os
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, List

from effps_solo.utils.atomic import write_atomically
from effps_solo.utils.errors import UserError
from effps_solo.utils.machine import num_cores

from .arguments import positive_float

if TYPE_CHECKING:
    from effps_solo.planning.choice import Choice

FEW_PASSES = 10  # over the training images


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Data, machine, output."""
    add = parser.add_argument
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument(
        "--description", metavar="FILE", help="of the data set, as import-dataset writes it"
    )
    data.add_argument(
        "--config-file", metavar="FILE", help="or: a config, for its DATASETS keys alone"
    )
    add("--output", required=True, metavar="FILE", help="the config to write")
    add("--overwrite", action="store_true", help="replace it")
    add(
        "--minutes",
        type=positive_float,
        default=30.0,
        metavar="N",
        help="that training may take (%(default)g)",
    )
    add(
        "--memory",
        type=positive_float,
        default=0.0,
        metavar="GB",
        help="that it may take (default: what is free)",
    )
    add(
        "--workers",
        type=int,
        default=num_cores(),
        metavar="N",
        help="processes that read labels (%(default)s)",
    )
    add("--no-bound", action="store_true", help="leave out the PQ of a perfect network at the end")


def run(args: argparse.Namespace) -> int:
    """Measure data and machine, write the config, tell its bound. Returns 0."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from effps_solo.planning.bound import bound
    from effps_solo.planning.config_file import as_yaml, load_text
    from effps_solo.planning.fingerprint import take_fingerprint
    from effps_solo.planning.machine import GIGABYTE, measure_step, this_machine
    from effps_solo.planning.planner import make_plan
    from effps_solo.structures.label_space import PanopticLabelSpace

    load = os.getloadavg()[0]  # before this program adds to it
    output = Path(args.output)
    if output.exists() and not args.overwrite:
        raise UserError(
            f"--output '{output}' exists already; name something new, or add --overwrite"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = str(output.parent)
    logging.getLogger("effps_solo").setLevel(logging.ERROR)
    choices = _data_set(args, folder)
    datasets = load_text(as_yaml(choices, ""), folder).DATASETS
    records = [record for name in datasets.TRAIN for record in DatasetCatalog.get(name)]
    metadata = MetadataCatalog.get(datasets.TRAIN[0])
    progress = sys.stderr.isatty()
    data = take_fingerprint(
        records,
        metadata.stuff_classes,
        PanopticLabelSpace.from_metadata(metadata),
        num_workers=args.workers,
        show_progress=progress,
    )
    machine = this_machine(args.memory * GIGABYTE)
    if load > machine.num_cores:
        print(
            f"other processes keep the {machine.num_cores} cores busy (load {load:.1f}): steps will seem "
            "slower than they are; plan again when those have ended",
            file=sys.stderr,
        )
    print(f"measuring training steps on {machine.name} ...", file=sys.stderr)
    plan = make_plan(
        data,
        machine,
        choices,
        minutes=args.minutes,
        measure=partial(measure_step, folder),
        num_test_images=sum(len(DatasetCatalog.get(name)) for name in datasets.TEST),
    )
    write_atomically(output, plan.text.encode())
    planned = load_text(plan.text, folder)
    passes = plan.iterations * planned.SOLVER.IMS_PER_BATCH / len(records)
    print(
        f"{output}: {plan.iterations} iterations of {plan.cost.seconds:.2f} s, "
        f"{plan.cost.memory / GIGABYTE:.1f} GB, {passes:.1f} passes over {len(records)} images"
    )
    if passes < FEW_PASSES:
        print(
            f"That is a first look: {FEW_PASSES} passes would take about "
            f"--minutes {math.ceil(args.minutes * FEW_PASSES / passes)}."
        )
    if not args.no_bound:
        print(bound(planned, records, show_progress=progress))
    words = shlex.join([sys.executable, "-m", "effps_solo", "train", "--config-file", str(output)])
    print(f"train it:\n  {words}")
    return 0


def _data_set(args: argparse.Namespace, folder: str) -> "List[Choice]":
    from effps_solo.config import read_config
    from effps_solo.planning.data_set import choices_of_config, choices_of_description

    if args.description:
        return choices_of_description(args.description, folder)
    return choices_of_config(read_config(args.config_file), read_config(""))
