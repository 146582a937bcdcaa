"""Scalars and pictures for Weights & Biases (WANDB.ENABLED), where its package is installed.

Its own TensorBoard sync is no replacement: it numbers steps anew, and sends all of a folder that holds its
files, as OUTPUT_DIR does, several times.
"""

import importlib
import logging
import os
from collections import defaultdict
from typing import Any, Dict, Optional

from detectron2.config import CfgNode
from detectron2.utils.events import EventWriter, get_event_storage

WINDOW = 20  # iterations whose median stands for a noisy scalar
logger = logging.getLogger(__name__)


def build_wandb_writer(cfg: CfgNode) -> Optional["WandbWriter"]:
    """A writer into a new run of ``WANDB.PROJECT``; None, with one warning, where that is impossible."""
    name = cfg.WANDB.NAME or os.path.basename(os.path.normpath(cfg.OUTPUT_DIR))
    try:
        package = importlib.import_module("wandb")
        run = package.init(project=cfg.WANDB.PROJECT, name=name, dir=cfg.OUTPUT_DIR, config=cfg)
        return WandbWriter(run, package.Image)
    except ModuleNotFoundError:
        logger.warning(
            "WANDB.ENABLED is on, but the package wandb is not installed: training goes on without "
            "(pip install wandb)"
        )
    except Exception as error:  # no account, no network: many types; no reason to end a training
        logger.warning("Weights & Biases does not start, training goes on without: %s", error)
    return None


class WandbWriter(EventWriter):
    """Sends new scalars and pictures to ``run``, which ``wandb.init`` gave; ``image_type``: ``wandb.Image``.

    Must come before the TensorBoard writer, which takes the pictures away.
    """

    def __init__(self, run: Any, image_type: Any) -> None:
        self.run, self.image_type = run, image_type
        self._last_iteration = -1

    def write(self) -> None:
        storage = get_event_storage()
        new: Dict[int, Dict[str, Any]] = defaultdict(dict)
        for name, (value, iteration) in storage.latest_with_smoothing_hint(WINDOW).items():
            if iteration > self._last_iteration:
                new[iteration][name] = value
        for name, picture, iteration in storage._vis_data:
            new[iteration][name] = self.image_type(picture.transpose(1, 2, 0))
        for iteration in sorted(new):
            self.run.log(new[iteration], step=iteration)
            self._last_iteration = max(self._last_iteration, iteration)

    def close(self) -> None:
        self.run.finish()
