"""Fits converted weights to the model of a config."""

from functools import reduce
from operator import getitem
from typing import Any, Dict, Mapping

import torch
from detectron2.config import CfgNode

from effps_solo.utils.errors import CheckpointError

from .efficientps_mask_rcnn import BACKGROUND_NOTE, is_mask_rcnn_key
from .report import ConversionReport
from .rules import StateDict

_COUNTER = "num_batches_tracked"  # torch fills it in where it is missing
# Layers with a row per class.
_CLASS_LAYERS = (
    "sem_seg_head.predictor.",
    "instance_head.grid_branches.category_predictor.",
    "instance_head.roi_heads.box_predictor.",
    "instance_head.roi_heads.mask_head.predictor.",
)
_TOLERANCE = 1e-6


def fit_to_model(
    converted: StateDict, report: ConversionReport, model_state: Mapping[str, torch.Tensor]
) -> StateDict:
    """The part of ``converted`` (our names) that loads into a model: tensors of the same shape.

    Fills left_out, reshaped and missing of the ``report``; a note about heads of which nothing is kept
    goes.

    Raises:
        CheckpointError: nothing fits.
    """
    fitting: StateDict = {}
    for foreign, key in list(report.converted.items()):
        if key not in model_state:
            del report.converted[foreign]
            report.left_out[foreign] = _reason(key, model_state)
        elif converted[key].shape != model_state[key].shape:
            del report.converted[foreign]
            report.reshaped[key] = _reshaped(key, converted[key], model_state[key])
            report.left_out[foreign] = "another shape, see reshaped"
        else:
            fitting[key] = converted[key]
    report.missing = [
        key
        for key in model_state
        if key not in fitting and key not in report.reshaped and not key.endswith(_COUNTER)
    ]
    if not any(map(is_mask_rcnn_key, fitting)):
        report.notes = [note for note in report.notes if note != BACKGROUND_NOTE]
    if not fitting:
        seen = ", ".join(list(converted)[:3])
        raise CheckpointError(f"nothing of the checkpoint fits the config's model (it has {seen})")
    return fitting


def _reason(key: str, model_state: Mapping[str, torch.Tensor]) -> str:
    if is_mask_rcnn_key(key) and not any(map(is_mask_rcnn_key, model_state)):
        return "Mask R-CNN head, which the config's model does not have"
    if key.endswith(_COUNTER):
        return "the norms of the config's model count no batches"
    return "the config's model has no such weight"


def _reshaped(key: str, value: torch.Tensor, own: torch.Tensor) -> str:
    shapes = f"{list(value.shape)} in the file, {list(own.shape)} in the model"
    if key.startswith(_CLASS_LAYERS) and value.shape[1:] == own.shape[1:]:
        return f"{shapes}; the class counts differ, so it is initialised anew"
    return f"{shapes}; it is initialised anew"


def settings_conflicts(settings: Mapping[str, Any], cfg: CfgNode) -> Dict[str, Any]:
    """Keys of ``settings`` that ``cfg`` sets otherwise -> its value."""
    values = {key: reduce(getitem, key.split("."), cfg) for key in settings}
    return {key: value for key, value in values.items() if not _equal(settings[key], value)}


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(_equal(x, y) for x, y in zip(a, b))
    if isinstance(a, float) and isinstance(b, (int, float)):
        return abs(a - b) <= _TOLERANCE * max(abs(a), abs(b))
    return bool(a == b)
