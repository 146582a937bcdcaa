"""The command line of datasets/prepare_*.py."""

import argparse
import sys
from pathlib import Path
from typing import Optional, Sequence

from effps_solo.data.importers.run import Imported
from effps_solo.utils.errors import INTERRUPTED, UserError
from effps_solo.utils.machine import num_cores

from .families import FAMILIES
from .family import Family
from .files import data_root, require_folder


def main(names: Sequence[str], arguments: Optional[Sequence[str]] = None) -> int:
    """Make the panoptic annotations of a family.

    Args:
        names: the families to choose from, keys of FAMILIES; the first is the default.
        arguments: of the command line; None for ``sys.argv``.

    Returns:
        the exit status: 2 when files are missing or cannot be used, 130 after Ctrl-C.
    """
    args = _parser(names).parse_args(arguments)
    family = FAMILIES[getattr(args, "family", names[0])]
    try:
        prepare(family, args.root, args.splits, args.workers)
    except (UserError, OSError) as error:
        what = "cannot read or write: " if isinstance(error, OSError) else ""
        print(f"{family.script}: {what}{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; run it again to go on", file=sys.stderr)
        return INTERRUPTED
    return 0


def prepare(family: Family, root: Path, splits: Sequence[str], num_workers: int) -> None:
    """Make the splits below ``root``/``family.folder`` and print what came of them.

    Raises UserError when files are missing or cannot be used.
    """
    folder = root / family.folder
    remedy = "datasets/README.md says where to get it; --root is the folder above"
    require_folder(str(folder), f"the download of {family.title}", remedy)
    for split in splits:
        for template in (family.images, *family.needs):
            path = family.path(str(root), template, split)
            remedy = "datasets/README.md shows the tree of the download"
            require_folder(path, f"{family.title}, split {split}:", remedy)
        made = family.prepare(folder, split, num_workers)
        print(_as_text(family.dataset_name(split), made))


def _as_text(dataset: str, made: Imported) -> str:
    counts = made.num_segments
    present = sum(count > 0 for count in counts.values())
    lines = [
        f"{dataset}: {made.num_images} images, {sum(counts.values())} segments of {present} of "
        f"{len(counts)} classes"
    ]
    left_out = [(f"annotations {why}", count) for why, count in made.counts.left_out.items()]
    lines += [f"  {count} {what}" for what, count in sorted([*made.notes.items(), *left_out])]
    return "\n".join(lines)


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    family = FAMILIES[names[0]]
    titles = " or ".join(FAMILIES[name].title for name in names)
    parser = argparse.ArgumentParser(
        prog=family.script,
        description=f"Makes the panoptic annotations of {titles} from the download. Run again, "
        "it goes on where it was stopped, and does only what changed.",
    )
    add = parser.add_argument
    add(
        "--root",
        type=Path,
        default=Path(data_root()),
        metavar="DIR",
        help=f"the folder that holds {family.folder}/ (%(default)s)",
    )
    splits = list(family.splits)
    add("--splits", nargs="+", choices=splits, default=splits, help="(default: all)")
    add("--workers", type=int, default=num_cores(), metavar="N", help="processes (%(default)s)")
    if len(names) > 1:
        add("--family", choices=names, default=names[0], help="which version (%(default)s)")
    return parser
