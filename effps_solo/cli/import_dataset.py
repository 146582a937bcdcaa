"""``effps-solo import-dataset``: annotations in other formats as a data set to train on."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, List

from effps_solo.utils.errors import INTERRUPTED, UserError
from effps_solo.utils.machine import num_cores

if TYPE_CHECKING:
    from effps_solo.data.importers.run import Imported
    from effps_solo.data.importers.source import Source

FORMATS = ("coco-instances", "labelme", "cityscapes-polygons")
CLASSES_NAME = "classes.yaml"


_NO_STUFF = """no class is stuff: pixels outside of all objects are void, and nothing is taught about them, so
expect objects where there are none; draw a background, or give it with --semantic and --classes"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to read and where to write."""
    parser.epilog = (
        "Run it once for every split, or once with --val-fraction. Run again, it goes on where it was "
        "stopped, and does only what changed."
    )
    add = parser.add_argument
    add("--from", dest="format", required=True, choices=FORMATS, help="what the annotations are")
    add(
        "--annotations",
        required=True,
        metavar="PATH",
        help="the COCO JSON, or the folder of the polygon files",
    )
    add("--images", default="", metavar="DIR", help="the images (default: --annotations)")
    add("--output", required=True, metavar="DIR", help="folder of the data set")
    add("--name", default="", help="of the data set (default: the name of its folder)")
    add("--split", default="train", metavar="NAME", help="which split this is (%(default)s)")
    add(
        "--val-fraction",
        type=_fraction,
        default=0.0,
        metavar="F",
        help="put this part of the images, chosen at random, into the split val; import frames of "
        "one video as splits instead",
    )
    add(
        "--classes",
        default="",
        metavar="FILE",
        help="YAML list of {name, isthing, id, color, labels}, the last three as needed (default for "
        f"polygons: {CLASSES_NAME} in the output, which is made for you to edit)",
    )
    add(
        "--semantic",
        default="",
        metavar="DIR",
        help="for coco-instances: PNGs of pixel values; --classes lists what they mean",
    )
    add("--workers", type=int, default=num_cores(), metavar="N", help="processes (%(default)s)")


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
        path = _import(args, Path(args.output))
    except KeyboardInterrupt:
        print("stopped; run it again to go on", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        raise UserError(f"cannot write to --output '{args.output}': {error}") from error
    print(f'in a config:\n  DATASETS: {{DESCRIPTIONS: ["{path.resolve()}"]}}')
    return 0


def _import(args: argparse.Namespace, output: Path) -> Path:
    """Write the split or splits; returns the path of the description."""
    from effps_solo.data.importers.run import import_split, split_items, write_description

    name = args.name or output.resolve().name
    source = _source(args, output)
    parts = {args.split: source.items}
    if args.val_fraction:
        parts[args.split], parts["val"] = split_items(source.items, args.val_fraction)
    for split, items in parts.items():
        imported = import_split(source, items, output, split, args.workers)
        path = write_description(output, name, split, source.images)
        print(_as_text(f"{name}_{split}", imported))
    if all(category["isthing"] for category in source.classes.categories):
        print(_NO_STUFF)
    return path


def _source(args: argparse.Namespace, output: Path) -> "Source":
    from effps_solo.data.importers.classes import ClassList, read_entries, write_template

    if args.format == "coco-instances":
        from effps_solo.data.importers.coco_instances import coco_instances_source

        images = args.images or str(Path(args.annotations).parent)
        return coco_instances_source(
            args.annotations, images, classes=args.classes, semantic=args.semantic
        )
    if args.semantic:
        raise UserError(f"--semantic is for coco-instances, not for {args.format}")
    if args.format == "labelme":
        from effps_solo.data.importers.labelme import labelme_labels as labels
        from effps_solo.data.importers.labelme import labelme_source as source
    else:
        from effps_solo.data.importers.cityscapes_polygons import cityscapes_labels as labels
        from effps_solo.data.importers.cityscapes_polygons import (
            cityscapes_polygons_source as source,
        )
    classes = args.classes or str(output / CLASSES_NAME)
    if not args.classes and not Path(classes).is_file():
        write_template(Path(classes), labels(args.annotations))
        raise UserError(
            f"wrote {classes}, a list of all labels: set isthing to 0 for what cannot be counted, "
            "delete what should be void, and run it again"
        )
    entries = read_entries(classes)
    return source(args.annotations, args.images or args.annotations, ClassList(entries, classes))


def _as_text(name: str, imported: "Imported") -> str:
    lines: List[str] = [f"{name}: {imported.num_images} images, segments by class:"]
    lines += [f"  {count:7}  {label}" for label, count in imported.num_segments.items()]
    if imported.notes:
        lines.append("left out:")
        lines += [f"  {count:7}  {what}" for what, count in sorted(imported.notes.items())]
    return "\n".join(lines)
