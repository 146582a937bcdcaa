"""Scalars and pictures for Weights & Biases (WANDB.ENABLED), where its package is installed."""

import importlib
import logging
import os
from collections import defaultdict
from typing import Any, Dict, Optional

from detectron2.config import CfgNode
from detectron2.utils.events import EventWriter, get_event_storage

logger = logging.getLogger(__name__)


def build_wandb_writer(cfg: CfgNode) -> Optional["WandbWriter"]:
    """A writer into a new run of ``WANDB.PROJECT``; None, with one warning, where that is impossible."""
    try:
        package = importlib.import_module("wandb")
    except ImportError:
        logger.warning(
            "WANDB.ENABLED is on, but the package wandb is not installed: training goes on without "
            "(pip install wandb)"
        )
        return None
    try:
        run = package.init(
            project=cfg.WANDB.PROJECT,
            name=cfg.WANDB.NAME or os.path.basename(os.path.normpath(cfg.OUTPUT_DIR)),
            dir=cfg.OUTPUT_DIR,
            config=cfg,
        )
    except Exception as error:  # no account, no network: many types; no reason to end a training
        logger.warning("Weights & Biases does not start, training goes on without: %s", error)
        return None
    return WandbWriter(run, package.Image)


class WandbWriter(EventWriter):
    """Sends new scalars and pictures to a run. Must come before the TensorBoard writer, which takes
    the pictures away.
    """

    def __init__(self, run: Any, image_type: Any, window_size: int = 20) -> None:
        """
        Args:
            run: what ``wandb.init`` returns.
            image_type: ``wandb.Image``.
            window_size: iterations whose median stands for a noisy scalar.
        """
        self.run = run
        self.image_type = image_type
        self.window_size = window_size
        self._last_iteration = -1

    def write(self) -> None:
        storage = get_event_storage()
        new: Dict[int, Dict[str, Any]] = defaultdict(dict)
        for name, (value, iteration) in storage.latest_with_smoothing_hint(
            self.window_size
        ).items():
            if iteration > self._last_iteration:
                new[iteration][name] = value
        for name, picture, iteration in storage._vis_data:
            new[iteration][name] = self.image_type(picture.transpose(1, 2, 0))
        for iteration in sorted(new):
            self.run.log(new[iteration], step=iteration)
            self._last_iteration = max(self._last_iteration, iteration)

    def close(self) -> None:
        self.run.finish()
