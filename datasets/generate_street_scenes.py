#!/usr/bin/env python3
"""Renders street scenes in the layout of Cityscapes, to train and evaluate on without a download.

The pictures are seeded: image i of a split depends only on the seed, the split and i. A folder that
holds the same set already is left as it is, an interrupted one is completed.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from effps_solo.street_scenes import SetParameters, generate  # noqa: E402
from effps_solo.street_scenes.statistics import measure  # noqa: E402


def default_output() -> Path:
    """Returns the folder `street_scenes` in Detectron2's data root."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser() / "street_scenes"


def cpu_count() -> int:
    """Returns the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    usual = SetParameters()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--output", type=Path, default=default_output(), help="folder of the set (%(default)s)")
    add("--num-train", type=int, default=usual.num_train, help="training images (%(default)s)")
    add("--num-val", type=int, default=usual.num_val, help="validation images (%(default)s)")
    add("--height", type=int, default=usual.height, help="image height in pixels (%(default)s)")
    add("--width", type=int, default=usual.width, help="image width in pixels (%(default)s)")
    add("--seed", type=int, default=usual.seed, help="decides on all that is random (%(default)s)")
    add("--num-workers", type=int, default=cpu_count(), help="processes (%(default)s)")
    add("--overwrite", action="store_true", help="replace a set made with other parameters")
    add("--statistics", action="store_true", help="print how hard the set is")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Generates the set; returns the exit status."""
    args = parse_arguments(arguments)
    parameters = SetParameters(args.num_train, args.num_val, args.height, args.width, args.seed)
    try:
        made = generate(args.output, parameters, args.num_workers, args.overwrite)
    except (ValueError, FileExistsError) as error:
        print(f"generate_street_scenes.py: {error}", file=sys.stderr)
        return 2
    print(f"{args.output}: {'written' if made else 'is there already'}")
    if args.statistics:
        for split in ("train", "val"):
            print(f"{split}:")
            for name, value in measure(args.output, split, parameters).items():
                print(f"  {name:28s} {value:8.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
