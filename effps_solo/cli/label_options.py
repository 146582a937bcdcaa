"""Options of ``effps-solo predict`` that make labels of predictions."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Optional, Sequence

from effps_solo.structures.classes import PanopticClass
from effps_solo.utils.errors import UserError

from .arguments import probability

if TYPE_CHECKING:
    from effps_solo.inference.labels.base import LabelWriter


def add_label_options(parser: argparse.ArgumentParser) -> None:
    """``--labels``, ``--simplify`` and ``--unsure-void``."""
    from effps_solo.inference.labels import FORMATS

    parser.add_argument(
        "--labels",
        choices=FORMATS,
        help="of images also polygons for a labelling tool: labelme/NAME.json for each, one COCO "
        "instances.json, or annotations.xml of CVAT for images",
    )
    parser.add_argument(
        "--simplify",
        type=_pixels,
        default=0.0,
        metavar="PIXELS",
        help="with --labels: fewer corners, which miss the border by about so much, and by less where a "
        "segment needs it (default: the exact border)",
    )
    parser.add_argument(
        "--unsure-void",
        type=probability,
        default=0.0,
        metavar="P",
        help="for pseudo-labels of images: segments whose score is below P become void",
    )


def label_writer_of(
    args: argparse.Namespace, folder: Path, classes: Sequence[PanopticClass]
) -> Optional["LabelWriter"]:
    """What ``--labels`` asks for; None: nothing. Raises UserError when options do not go together."""
    from effps_solo.inference.labels.build import build_label_writer

    if args.labels:
        return build_label_writer(args.labels, folder, classes, args.simplify)
    if args.simplify:
        raise UserError("--simplify is for the polygons of --labels; choose a format there")
    return None


def _pixels(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of pixels")
    return value
