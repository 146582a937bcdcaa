"""Options that several commands share."""

import argparse
import re

TRAINED = "MODEL.WEIGHTS output/quickstart/model_final.pth"
RANDOM = "MODEL.WEIGHTS '' for random weights"


def add_config_options(parser: argparse.ArgumentParser, example: str = "KEY VALUE ...") -> None:
    """``--allow-unsafe`` and ``--opts``, which ends the command line; the help has the ``example``."""
    parser.add_argument(
        "--allow-unsafe",
        action="store_true",
        help="load configs, checkpoints and .pt2 files that can run code; only for files you trust",
    )
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help=f"config overrides, last on the line: {example}",
    )


def add_runtime_options(parser: argparse.ArgumentParser) -> None:
    """``--backend``, ``--threads`` and ``--precision``."""
    from effps_solo.inference.exported import BACKENDS

    parser.add_argument(
        "--backend", choices=BACKENDS, help="what runs the model (default: by the file's suffix)"
    )
    add_arithmetic_options(parser)


def add_arithmetic_options(parser: argparse.ArgumentParser) -> None:
    """``--threads`` and ``--precision``."""
    from effps_solo.inference.exported import PRECISIONS

    parser.add_argument("--threads", type=positive, default=0, metavar="N", help="of the CPU")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="of the arithmetic (default: what TEST.AMP of the config says; of an exported model fp32, in "
        "OpenVINO bf16 where the processor has units for it)",
    )


def add_max_megapixels(parser: argparse.ArgumentParser) -> None:
    """``--max-megapixels``."""
    from effps_solo.utils.image_io import MAX_MEGAPIXELS

    parser.add_argument(
        "--max-megapixels",
        type=float,
        default=MAX_MEGAPIXELS,
        metavar="N",
        help="larger images are refused, for they may need more memory than there is (%(default)s)",
    )


def positive(text: str) -> int:
    """The type of an option that takes a positive whole number."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def probability(text: str) -> float:
    """The type of an option that takes a number in [0, 1]."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def regular_expression(text: str) -> "re.Pattern[str]":
    """The type of an option that takes a regular expression."""
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text} is no regular expression: {error}") from error


def positive_float(text: str) -> float:
    """The type of an option that takes a positive number."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value
