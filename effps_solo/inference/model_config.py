"""The config of a trained model, for which no data set need be there where the model knows its classes."""

import logging
import os
from typing import Sequence, Union

import torch
from detectron2.config import CfgNode

from effps_solo.checkpoint.checkpointer import IMAGENET_PREFIX, checkpoint_classes
from effps_solo.checkpoint.model_folder import CONFIG_NAME
from effps_solo.config.setup import for_classes, read_config, with_data_sets
from effps_solo.data.datasets.files import DatasetError
from effps_solo.utils.errors import ConfigError, UserError
from effps_solo.utils.packaged import located_model

CHECKPOINT_SUFFIXES = (".pth",)
# In OUTPUT_DIR: at the end of a training, and where it was evaluated from time to time.
FINAL_WEIGHTS, BEST_WEIGHTS = "model_final.pth", "model_best.pth"
logger = logging.getLogger(__name__)


def load_model_config(
    path: Union[str, "os.PathLike[str]"],
    overrides: Sequence[str] = (),
    allow_unsafe: bool = False,
) -> CfgNode:
    """The config of a trained model, ready to be built; ``MODEL.WEIGHTS`` are its weights.

    Args:
        path: a model folder or the name of one in the package, a checkpoint with its config beside it, or
            a config.
        overrides: KEY VALUE KEY VALUE ... of the config.

    Returns:
        the config. Where the weights name their classes, as a model folder and every checkpoint since
        0.2 do, it has those and no data set; else those of ``DATASETS.TRAIN[0]``, which must be there.

    Raises:
        UserError: something is not there, or cannot be used.
    """
    cfg = read_model_config(path, overrides, allow_unsafe)
    with_classes_of_weights(cfg, allow_unsafe)
    return cfg


def with_classes_of_weights(cfg: CfgNode, allow_unsafe: bool = False) -> None:
    """Complete what :func:`read_model_config` gave, see :func:`load_model_config`."""
    classes = checkpoint_classes(cfg.MODEL.WEIGHTS, allow_unsafe)
    if classes:
        for_classes(cfg, classes)
        return
    try:
        with_data_sets(cfg)
    except DatasetError as error:
        raise UserError(
            f"{cfg.MODEL.WEIGHTS} does not name its classes, and the data set of its training, which does, "
            f"is not here: {error}. Where it is, `effps-solo pack --config-file CONFIG` makes a model "
            "folder, which needs none"
        ) from error


def read_model_config(
    path: Union[str, "os.PathLike[str]"],
    overrides: Sequence[str] = (),
    allow_unsafe: bool = False,
    trained: Sequence[str] = (FINAL_WEIGHTS,),
) -> CfgNode:
    """The same before its classes are known; ``trained``: see :func:`with_trained_weights`."""
    path = os.fspath(located_model(path))
    words, config_file = list(overrides), path
    if not os.path.exists(path):
        raise UserError(f"{path} does not exist")
    if os.path.isdir(path):
        config_file = os.path.join(path, CONFIG_NAME)
        words = ["MODEL.WEIGHTS", path, *words]
    elif path.endswith(CHECKPOINT_SUFFIXES):
        config_file = os.path.join(os.path.dirname(path), CONFIG_NAME)
        words += ["MODEL.WEIGHTS", path]
    if not os.path.isfile(config_file):
        raise UserError(
            f"{path} has no {CONFIG_NAME} beside it; load its config instead, with the "
            f'override MODEL.WEIGHTS "{path}"'
        )
    cfg = read_config(config_file, words, allow_unsafe)
    with_trained_weights(cfg, trained)
    if os.path.isdir(path) and "MODEL.DEVICE" not in words and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"  # that of the training is no wish of whoever opens the folder
    return cfg


def with_trained_weights(cfg: CfgNode, trained: Sequence[str] = (FINAL_WEIGHTS,)) -> None:
    """Make ``MODEL.WEIGHTS`` those that a training with this config leaves, unless it names others.

    Args:
        trained: files in ``OUTPUT_DIR``; the first that is there.

    Raises:
        ConfigError: there are none.
    """
    weights = cfg.MODEL.WEIGHTS
    if weights and not weights.startswith(IMAGENET_PREFIX):
        return
    paths = [os.path.join(cfg.OUTPUT_DIR, name) for name in trained]
    for path in paths:
        if os.path.isfile(path):
            cfg.MODEL.WEIGHTS = path
            return
    raise ConfigError(
        f"MODEL.WEIGHTS is '{weights}', and {paths[-1]} does not exist: train first, or name a "
        "checkpoint: MODEL.WEIGHTS output/model_final.pth"
    )
