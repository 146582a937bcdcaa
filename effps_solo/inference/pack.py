"""From a trained model to a folder that needs no data set, see :mod:`effps_solo.checkpoint.model_folder`."""

import logging
import os
from typing import Any, Mapping, Optional, Union

from detectron2.config import CfgNode
from detectron2.modeling import build_model

from effps_solo.checkpoint.checkpointer import EffPSCheckpointer
from effps_solo.checkpoint.model_folder import weights_in_16_bits, write_model_folder
from effps_solo.config import classes_of_data
from effps_solo.config.setup import without_data_sets

from .model_card import model_card
from .model_config import with_classes_of_weights

EVALUATION_KEY = "evaluation"  # of a checkpoint, see effps_solo.inference.model_card.evaluation_of
logger = logging.getLogger(__name__)


def pack(
    cfg: CfgNode,
    folder: Union[str, "os.PathLike[str]"],
    *,
    evaluation: Optional[Mapping[str, Any]] = None,
    num_images: Optional[int] = None,
    licence: str = "",
    half: bool = False,
    allow_unsafe: bool = False,
) -> None:
    """Write a model folder.

    Args:
        cfg: of a trained model, as :func:`.model_config.read_model_config` gives it, or of its training;
            ``MODEL.WEIGHTS`` is what to pack. It stays as it is.
        folder: new, empty, or a model folder, whose place it takes.
        evaluation: of these weights, see :func:`.model_card.evaluation_of`; None: what the checkpoint says.
        num_images: of the training; None: unknown.
        licence: of the weights; "": not stated.
        half: kernels in 16 bits.

    Raises:
        UserError: the weights cannot be used, or the folder holds other files.
        OSError: it cannot be written.
    """
    ready = cfg.clone()
    ready.defrost()
    ready.MODEL.DEVICE = "cpu"
    with_classes_of_weights(ready, allow_unsafe)
    classes, model = classes_of_data(ready), build_model(ready)
    checkpointer = EffPSCheckpointer(
        model, allow_unsafe=allow_unsafe, use_ema=cfg.TEST.USE_EMA, complete=True, classes=classes
    )
    rest = checkpointer.load(cfg.MODEL.WEIGHTS)
    state = model.state_dict()
    removed = write_model_folder(
        folder,
        weights=weights_in_16_bits(state) if half else state,
        config=_portable(cfg).dump(),
        classes=classes,
        card=model_card(
            cfg,
            classes,
            num_parameters=sum(parameter.numel() for parameter in model.parameters()),
            origin=_origin(cfg, rest, half),
            num_images=num_images,
            evaluation=evaluation or rest.get(EVALUATION_KEY),
            licence=licence,
        ),
    )
    if removed:
        logger.warning(
            "Removed from %s, for they were of other weights: %s; export again",
            folder,
            ", ".join(removed),
        )
    logger.info("Model folder with weights, config, classes and card: %s", folder)


def _portable(cfg: CfgNode) -> CfgNode:
    """``cfg`` without paths of the machine of the training; the names of the data stay."""
    portable = cfg.clone()
    portable.defrost()
    without_data_sets(portable)
    portable.MODEL.WEIGHTS = ""
    portable.OUTPUT_DIR = "output"
    return portable


def _origin(cfg: CfgNode, rest: Mapping[str, Any], half: bool) -> str:
    """Which weights they are, for people."""
    words = [os.path.basename(os.path.normpath(cfg.MODEL.WEIGHTS))]
    if "iteration" in rest:
        words.append(f"after {rest['iteration'] + 1} iterations")
    if "metric" in rest:
        words.append(f"the best by {rest['metric']}")
    if half:
        words.append("kernels in 16 bits")
    return ", ".join(words)
