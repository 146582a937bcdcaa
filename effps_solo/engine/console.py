"""What a run tells: all of it in OUTPUT_DIR/log.txt, and on the console what one reads meanwhile."""

import argparse
import logging
import os
import sys
from typing import Optional

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.logger import setup_logger

from effps_solo.data.loader import shows_progress

_OWN = "effps_solo"
_LOGGERS = ("fvcore", "detectron2", _OWN)
_PROGRESS_OF_EVALUATION = "Inference done"
_IN_TABLES = "Actual Results"  # of a failed TEST.EXPECTED_RESULTS: what the tables show, as a dict
logger = logging.getLogger(__name__)


def is_for_the_console(record: logging.LogRecord) -> bool:
    """Warnings, what this project says, and how far an evaluation is, if no progress bar shows that."""
    message = str(record.msg)
    if record.levelno >= logging.WARNING:
        return not message.startswith(_IN_TABLES)
    if message.startswith(_PROGRESS_OF_EVALUATION):
        return not shows_progress()
    return record.name.split(".")[0] == _OWN


def start_log(output_dir: Optional[str] = None) -> None:
    """What :func:`is_for_the_console` on the console of the main process, and all of it in a log.txt.

    There are colours on a terminal only.

    Args:
        output_dir: the folder of the file; None: there is none.
    """
    for name in _LOGGERS:
        own = setup_logger(
            output_dir, distributed_rank=comm.get_rank(), color=sys.stdout.isatty(), name=name
        )
        for handler in own.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
                handler.addFilter(is_for_the_console)


def start_run(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Start log and console, write config.yaml, seed the random numbers; in the place of ``default_setup``.

    Detectron2's also prints the machine, the command and two configs; here they go to the log alone.
    """
    rank = comm.get_rank()
    if comm.is_main_process():
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    start_log(cfg.OUTPUT_DIR)
    to_file = logging.getLogger("detectron2.setup").info
    to_file("Process %d of %d", rank, comm.get_world_size())
    to_file("Environment:\n%s", collect_env_info())
    to_file("Arguments: %s", args)
    if comm.is_main_process():
        path = os.path.join(cfg.OUTPUT_DIR, "config.yaml")
        to_file("The whole config, also in %s:\n%s", path, cfg.dump())
        with open(path, "w") as file:
            file.write(cfg.dump())
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    if not args.eval_only:  # it does not pay for a few images
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
