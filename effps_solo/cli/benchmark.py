"""``effps-solo benchmark``: time, memory and arithmetic of a model in torch and in other runtimes."""

import argparse
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import List, Sequence, Tuple

from effps_solo.utils.atomic import make_writable
from effps_solo.utils.errors import INTERRUPTED, UserError

from .arguments import TRAINED, add_config_options, positive

BACKENDS = ("torch", "compiled", "bf16", "compiled-bf16", "onnx", "openvino")
DEFAULT_BACKENDS = ("torch", "compiled", "bf16", "onnx", "openvino")
DEFAULT_SIZE = (512, 1024)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A model, images, backends."""
    add = parser.add_argument
    parser.epilog = (
        "Without weights (--opts MODEL.WEIGHTS '') the model is measured with random ones. A backend that "
        "is not installed is a row that says so."
    )
    add("--config-file", required=True, metavar="FILE", help="the model's config")
    add(
        "--image-size",
        nargs="+",
        type=positive,
        default=[],
        metavar="PIXELS",
        help="HEIGHT WIDTH, once or several times: 512 1024 1024 2048 (default: that of the first image "
        f"of --input, else {DEFAULT_SIZE[0]} {DEFAULT_SIZE[1]})",
    )
    add(
        "--input",
        nargs="+",
        default=[],
        metavar="PATH",
        help="images and folders of images, brought to --image-size (default: synthetic ones)",
    )
    add(
        "--backend",
        nargs="+",
        choices=BACKENDS,
        default=list(DEFAULT_BACKENDS),
        metavar="NAME",
        help=f"of {', '.join(BACKENDS)} (default: all but compiled-bf16)",
    )
    add("--runs", type=positive, default=20, metavar="N", help="of each backend (%(default)s)")
    add("--threads", type=positive, metavar="N", help="of the CPU (default: all cores)")
    add(
        "--compare",
        action="store_true",
        help="measure Detectron2's Panoptic FPN and Panoptic-DeepLab in the same rounds",
    )
    add(
        "--peer",
        nargs="+",
        default=[],
        type=Path,
        metavar="FILE.onnx",
        help="measure other networks, ONNX files with one image as their input, in the same rounds and in "
        "those of onnx and openvino that are among the backends",
    )
    add(
        "--scaling",
        action="store_true",
        help="measure how time and memory of the first backend grow with the image, and those of decoding "
        "and fusion with the number of objects",
    )
    add(
        "--output",
        metavar="DIR",
        help="write benchmark.md, .json and .png there, and keep the exported files",
    )
    add_config_options(parser, TRAINED)


def run(args: argparse.Namespace) -> int:
    """Measure and report. Returns 0; 1 when no backend could be measured; 130 after Ctrl-C."""
    from effps_solo.benchmark.report import markdown, write_report
    from effps_solo.benchmark.runner import Plan, run_benchmark
    from effps_solo.utils.machine import num_cores

    from .predict import find_inputs

    inputs = find_inputs(args.input)
    if args.input and not inputs:
        raise UserError(f"--input: no image found in {', '.join(args.input)}")
    plan = Plan(
        config_file=args.config_file,
        overrides=tuple(args.opts),
        allow_unsafe=args.allow_unsafe,
        sizes=_sizes(args.image_size, inputs),
        inputs=inputs,
        backends=tuple(dict.fromkeys(args.backend)),
        num_runs=args.runs,
        threads=args.threads or num_cores(),
        compare=args.compare,
        scaling=args.scaling,
        peers=_peers(args),
    )
    if not Path(args.config_file).is_file():
        raise UserError(f"--config-file {args.config_file} does not exist")
    with ExitStack() as stack:
        folder = Path(args.output or stack.enter_context(tempfile.TemporaryDirectory()))
        make_writable(folder, "--output")
        try:
            summary = run_benchmark(plan, folder, partial(print, file=sys.stderr, flush=True))
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return INTERRUPTED
        print(f"\n{markdown(summary)}")
        if args.output:
            print("\n".join(map(str, write_report(summary, folder))))
    rows = [row for measured in summary["sizes"] for row in measured["rows"]]
    return 0 if any("error" not in row for row in rows) else 1


def _peers(args: argparse.Namespace) -> Tuple[Path, ...]:
    """Raises UserError for a file that is not there or no ONNX, and where no backend runs one."""
    from effps_solo.benchmark.runner import RUNTIMES

    for path in args.peer:
        if path.suffix != ".onnx" or not path.is_file():
            raise UserError(f"--peer {path} is no ONNX file that is there (FILE.onnx)")
    if args.peer and not RUNTIMES.keys() & set(args.backend):
        raise UserError(f"--peer needs {' or '.join(RUNTIMES)} among the names behind --backend")
    return tuple(args.peer)


def _sizes(numbers: Sequence[int], inputs: Sequence[Path]) -> List[Tuple[int, int]]:
    """(H, W) pairs. Raises UserError for an odd count."""
    from effps_solo.benchmark.images import size_of

    if len(numbers) % 2:
        given = " ".join(map(str, numbers))
        raise UserError(f"--image-size {given} has a height without a width; give HEIGHT WIDTH")
    if numbers:
        return list(dict.fromkeys(zip(numbers[::2], numbers[1::2])))
    return [size_of(inputs[0]) if inputs else DEFAULT_SIZE]
