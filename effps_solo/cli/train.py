"""``effps-solo train``: train a model, or evaluate one as the trainer does; also ``train_net.py``."""

import argparse
import sys

from effps_solo.utils.errors import UserError

EPILOG = """
effps-solo train --config-file CONFIG
effps-solo train --config-file CONFIG --resume       # or --overwrite, to train anew in the same folder
effps-solo train --config-file CONFIG SOLVER.MAX_ITER 1000 OUTPUT_DIR output/short
effps-solo train --config-file CONFIG --eval-only MODEL.WEIGHTS output/model_final.pth
effps-solo train --config-file CONFIG --num-processes 2
torchrun --nproc-per-node 2 -m effps_solo train --config-file CONFIG
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Detectron2's options, ``--overwrite`` and ``--allow-unsafe``."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="the config")
    add("--resume", action="store_true", help="go on with the training that OUTPUT_DIR holds")
    add(
        "--overwrite",
        action="store_true",
        help="remove the training that OUTPUT_DIR holds, and train anew",
    )
    add("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS and train nothing")
    add(
        "--num-gpus",
        "--num-processes",
        type=int,
        default=1,
        metavar="N",
        help="processes on this machine, each with a GPU of its own if there are any (%(default)s)",
    )
    add(
        "--num-machines", type=int, default=1, metavar="N", help="that train together (%(default)s)"
    )
    add(
        "--machine-rank", type=int, default=0, metavar="N", help="the number of this one, from 0 on"
    )
    # "auto", so that two jobs of a user do not meet at one port.
    add("--dist-url", default="auto", metavar="URL", help="tcp://HOST:PORT of the first machine")
    add(
        "--allow-unsafe",
        action="store_true",
        help="load configs and checkpoints that can run code; only for files you trust",
    )
    add(
        "opts",
        nargs=argparse.REMAINDER,
        metavar="KEY VALUE",
        help="config overrides, last on the line",
    )


def run(args: argparse.Namespace) -> int:
    """Train in as many processes as the options ask for. Returns 0."""
    from torch.multiprocessing import ProcessExitedException

    from effps_solo.engine import launch

    from .training import program

    try:
        launch(program, args)
    except UserError as error:
        sys.exit(f"effps-solo train: {error}")
    except ProcessExitedException as error:
        # What a signal ended, often the system for want of memory, could not say why.
        sys.exit(f"effps-solo train: {error}; see dmesg" if error.signal_name else 1)
    return 0
