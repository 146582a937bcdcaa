"""``effps-solo import-dataset``: annotations in other formats as a data set to train on."""

import argparse
import importlib
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List

from effps_solo.data.importers.formats import FORMATS
from effps_solo.utils.errors import INTERRUPTED, UserError
from effps_solo.utils.machine import num_cores

from .arguments import regular_expression

if TYPE_CHECKING:
    from effps_solo.data.importers.canvas import Counts
    from effps_solo.data.importers.classes import ClassList
    from effps_solo.data.importers.run import Imported
    from effps_solo.data.importers.source import Export, Item

_NO_STUFF = """no class is stuff: pixels outside of all objects are void, and nothing is taught about them, so
expect objects where there are none. Name the classes that cannot be counted by --stuff, or by isthing: 0 in
the list of classes if there is one; --background NAME makes a class of what nobody outlined"""
_CROWDS = """WARNING: {crowds} of the {all} annotations of {name} are crowds (iscrowd 1), which teach no
object; CVAT writes brush strokes so: with --crowds-as-objects each is an object"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to read and where to write."""
    parser.epilog = (
        "Run again, it goes on where it was stopped, and does only what changed. docs/data.md lists the "
        "formats."
    )
    add = parser.add_argument
    add(
        "--from",
        dest="format",
        choices=list(FORMATS),
        help="what the annotations are (default: what they look like)",
    )
    add(
        "--annotations",
        required=True,
        metavar="PATH",
        help="the COCO JSON, data.yaml or XML, the folder of the files, or that of an export with its splits",
    )
    add(
        "--images",
        default="",
        metavar="DIR",
        help="the images (default: where the annotations are)",
    )
    add("--output", required=True, metavar="DIR", help="folder of the data set")
    add("--name", default="", help="of the data set (default: the name of its folder)")
    _add_splits(parser)
    _add_classes(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--relative",
        action="store_true",
        help="name the images as seen from the output, so that both can be moved together",
    )
    where.add_argument("--copy", action="store_true", help="copy the images into the output")
    add("--workers", type=int, default=num_cores(), metavar="N", help="processes (%(default)s)")


def _add_splits(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--split",
        default="",
        metavar="NAME",
        help="make all images this split (default: the splits of the export, or else train)",
    )
    add(
        "--val-fraction",
        type=_fraction,
        default=0.0,
        metavar="F",
        help="put this part of the training images, at least one, into the split val, by their names",
    )
    add(
        "--group-by",
        type=regular_expression,
        metavar="REGEX",
        help="keep images in one split whose names have the same match, or the same first group of it, "
        "e.g. frames of a video or parts of a photograph",
    )


def _add_classes(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--classes",
        default="",
        metavar="FILE",
        help="YAML list of {name, isthing, id, color, labels}, the last three as needed (default: "
        "classes.yaml in the output, which is made for you to edit where nothing says what is stuff)",
    )
    add(
        "--stuff",
        nargs="*",
        metavar="NAME",
        help="instead of a list: these labels are stuff, the others things",
    )
    add(
        "--background",
        default="",
        metavar="NAME",
        help="the class of stuff that lies where no annotation does (default: void)",
    )
    add(
        "--crowds-as-objects",
        action="store_true",
        help="take every crowd (iscrowd 1) for an object: CVAT writes brush strokes so",
    )
    add(
        "--semantic",
        default="",
        metavar="DIR",
        help="for coco-instances: PNGs of pixel values; --classes lists what they mean",
    )


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not in [0, 1)")
    return value


def run(args: argparse.Namespace) -> int:
    """Import; print what came of it.

    Returns:
        0; 130 after Ctrl-C, which leaves nothing half done.
    """
    if args.val_fraction and args.split == "val":
        raise UserError("--split val is what --val-fraction makes; leave one of them out")
    try:
        _import(args, Path(args.output))
    except KeyboardInterrupt:
        print("stopped; run it again to go on", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        raise UserError(f"cannot write to --output '{args.output}': {error}") from error
    return 0


def _import(args: argparse.Namespace, output: Path) -> None:
    """Write the splits, or the class list to edit first."""
    from effps_solo.data.importers.class_choice import CLASSES_NAME, choose_classes, other_splits
    from effps_solo.data.importers.splits import choose_splits

    export = _find(args)
    splits, moved = choose_splits(
        export.splits,
        export.images,
        split=args.split,
        val_fraction=args.val_fraction,
        group_by=args.group_by,
    )
    classes, remarks = choose_classes(
        export,
        output,
        file=args.classes,
        stuff=args.stuff,
        background=args.background,
        splits=list(splits),
    )
    remarks += moved
    if classes is None:
        words = shlex.join([sys.executable, "-m", "effps_solo", *getattr(args, "words", ())])
        print(
            *remarks,
            f"wrote {output / CLASSES_NAME}, a list of all labels: set isthing to 0 for what cannot be "
            "counted, delete what should be void, and run it again:",
            f"  {words}",
            sep="\n",
        )
        return
    total = _write(args, export, splits, classes, output)
    print(*remarks, *_closing_lines(export, total, classes), sep="\n")
    for file, categories in other_splits(output, list(splits)):
        if categories != classes.categories:
            print(f"WARNING: {file} has other classes; import that split again")
    if total.num_annotations and not total.num_drawn:
        reasons = ", ".join(f"{count} {why}" for why, count in total.left_out.items())
        raise UserError(f"no annotation is in the data set, of {total.num_annotations}: {reasons}")
    description = str(output / f"{_name(args)}.yaml")
    program = [sys.executable, "-m", "effps_solo"]
    print("what comes next:")
    print(" ", shlex.join([*program, "check-dataset", "--description", description]))
    config = ["--output", str(output / "config.yaml")]
    print(" ", shlex.join([*program, "plan", "--description", description, *config]))


def _name(args: argparse.Namespace) -> str:
    return args.name or Path(args.output).resolve().name


def _find(args: argparse.Namespace) -> "Export":
    """What the reader of the format finds; a message about other files says what those look like."""
    from effps_solo.data.importers.files import ForeignFileError, SourceError, UnreadableFileError
    from effps_solo.data.importers.recognition import recognize

    if args.semantic and args.format not in (None, "coco-instances"):
        raise UserError(f"--semantic is for coco-instances, not for {args.format}")
    if args.semantic and (not args.classes or args.background):
        raise UserError(
            "--semantic and --classes go together: PNGs, and what their values mean; there is no "
            "--background then"
        )
    name = args.format
    if name is None:
        seen = recognize(args.annotations)
        name = seen[1].format if seen else ""
        if seen and not name:
            raise UserError(f"{seen[0]} looks like {seen[1].what}: {seen[1].advice}")
        if not name:
            raise UserError(
                f"--annotations '{args.annotations}' looks like no format; name it by --from"
            )
    reader = importlib.import_module(f"effps_solo.data.importers.{FORMATS[name]}")
    options = {"semantic": args.semantic} if args.semantic else {}
    try:
        export: "Export" = reader.find(args.annotations, args.images, **options)
    except (ForeignFileError, UnreadableFileError) as error:
        seen = recognize(args.annotations)
        if seen is None or seen[1].format == name:
            raise
        file, guess = seen
        raise SourceError(f"{error}\n{file} looks like {guess.what}: {guess.advice}") from error
    return export


def _write(
    args: argparse.Namespace,
    export: "Export",
    splits: "Dict[str, List[Item]]",
    classes: "ClassList",
    output: Path,
) -> "Counts":
    """Write the splits and print what is in each; returns the counts of all."""
    from effps_solo.data.importers.canvas import Counts
    from effps_solo.data.importers.run import copy_images, import_split, write_description
    from effps_solo.data.importers.source import Source
    from effps_solo.data.importers.splits import image_root

    name, total = _name(args), Counts()
    for split, items in splits.items():
        root = image_root(export.images, items)
        source = Source(root, items, classes, export.draw, args.crowds_as_objects)
        imported = import_split(source, items, output, split, args.workers)
        images = copy_images(source, items, output, split) if args.copy else root
        write_description(output, name, split, images, relative=args.relative)
        total.add(vars(imported.counts))
        print(_as_text(f"{name}_{split}", imported))
    return total


def _closing_lines(export: "Export", total: "Counts", classes: "ClassList") -> List[str]:
    """What lies on top, and what makes a network learn less than the annotations seem to teach."""
    lines = [f"where shapes overlap: {export.overlap}"]
    lines += [
        _CROWDS.format(crowds=crowds, all=crowds + total.num_objects[name], name=name)
        for name, crowds in total.num_crowds.items()
        if crowds > total.num_objects[name]
    ]
    if all(category["isthing"] for category in classes.categories):
        lines.append(_NO_STUFF)
    return lines


def _as_text(name: str, imported: "Imported") -> str:
    counts = imported.counts
    lines = [f"{name}: {imported.num_images} images, segments by class:"]
    if counts.num_annotations:
        drawn = f"{counts.num_drawn} of {counts.num_annotations} annotations"
        lines = [f"{name}: {imported.num_images} images, {drawn}, segments by class:"]
    lines += [f"  {count:7}  {label}" for label, count in imported.num_segments.items()]
    for title, notes in (("left out: annotations", counts.left_out), ("left out:", imported.notes)):
        if notes:
            lines.append(title)
            lines += [f"  {count:7}  {what}" for what, count in sorted(notes.items())]
    return "\n".join(lines)
