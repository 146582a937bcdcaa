"""A training or an evaluation, from the options of ``effps-solo train`` to the report."""

import argparse
import logging
import sys
from functools import partial
from typing import Any, Dict

from detectron2.config import CfgNode
from detectron2.data.detection_utils import SizeMismatchError
from detectron2.evaluation import verify_results
from detectron2.utils import comm

from effps_solo.checkpoint.checkpointer import EffPSCheckpointer
from effps_solo.config import check_device, check_values, classes_of_data, load_config
from effps_solo.data.checks.before_training import check_test_sets
from effps_solo.data.datasets.registration import check_dataset_available
from effps_solo.engine import Trainer, announce, on_main_process, start_run
from effps_solo.engine.output_folder import claim_output_folder
from effps_solo.inference.model_config import with_trained_weights
from effps_solo.inference.preparation import build_inference_model
from effps_solo.report import write_reports
from effps_solo.utils.errors import UserError
from effps_solo.utils.machine import keep_freed_memory

USER_ERRORS = (UserError, FileNotFoundError, SizeMismatchError)
_FROM_WORKER = "in DataLoader worker process"


def setup(args: argparse.Namespace) -> CfgNode:
    """The frozen config of a command line; also starts the log."""
    cfg = load_config(args.config_file, args.opts, allow_unsafe=args.allow_unsafe)
    check_device(cfg)
    check_values(cfg)
    # Mistakes are told before the network is built and there is a folder for results.
    for name in cfg.DATASETS.TEST if args.eval_only else (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        check_dataset_available(name)
    if args.eval_only and not args.resume:
        with_trained_weights(cfg)
    if cfg.MODEL.DEVICE == "cpu":
        keep_freed_memory()
    cfg.freeze()
    on_main_process(partial(check_test_sets, cfg))
    on_main_process(
        partial(
            claim_output_folder,
            cfg.OUTPUT_DIR,
            resume=args.resume,
            overwrite=args.overwrite,
            evaluate=args.eval_only,
            weights=cfg.MODEL.WEIGHTS,
        )
    )
    start_run(cfg, args)
    return cfg


def train(args: argparse.Namespace) -> Dict[str, Any]:
    """Train, then evaluate; or only evaluate. Returns the results by task."""
    cfg = setup(args)
    if args.eval_only:
        model = Trainer.build_model(cfg)
        EffPSCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            allow_unsafe=args.allow_unsafe,
            use_ema=cfg.TEST.USE_EMA,
            complete=True,
            classes=classes_of_data(cfg),
        ).resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
        results = Trainer.test(cfg, build_inference_model(cfg, model))
        if comm.is_main_process():
            write_reports(cfg, results)
            verify_results(cfg, results)
        return results
    trainer = Trainer(cfg, allow_unsafe=args.allow_unsafe)
    trainer.resume_or_load(resume=args.resume)
    announce(trainer)
    logging.getLogger("detectron2.engine.train_loop").addFilter(is_no_user_error)
    trainer.train()
    results = getattr(trainer, "_last_eval_results", {})
    if results and comm.is_main_process():
        write_reports(cfg, results)
    return results


def is_no_user_error(record: logging.LogRecord) -> bool:
    """Whether to log: the traceback of what ends training, but not for a user's mistake."""
    return not (record.exc_info and isinstance(record.exc_info[1], USER_ERRORS))


def message_of(error: Exception) -> str:
    """What to tell the user; a worker of the data loader sends its whole traceback."""
    text = str(error).strip()
    if _FROM_WORKER not in text:
        return text
    return text.splitlines()[-1].partition(": ")[2]


def program(args: argparse.Namespace) -> None:
    """:func:`train` in one process; a user's mistake ends it with a message instead of a traceback."""
    try:
        train(args)
    except USER_ERRORS as error:
        sys.exit(f"effps-solo train: {message_of(error)}")
