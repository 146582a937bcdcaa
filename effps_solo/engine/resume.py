"""``--resume`` with another config: what goes on as the config says now, and what cannot."""

import logging
from typing import Any, Dict, List, Mapping

import torch

from effps_solo.utils.errors import CheckpointError

logger = logging.getLogger(__name__)

_INSTEAD = "or take --resume away and set MODEL.WEIGHTS to the checkpoint"
# Settings of a parameter group that a config names -> its key.
_KEYS = {
    "initial_lr": "SOLVER.BASE_LR",
    "weight_decay": "SOLVER.WEIGHT_DECAY",
    "momentum": "SOLVER.MOMENTUM",
    "nesterov": "SOLVER.NESTEROV",
}


def with_own_settings(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> Dict[str, Any]:
    """The state to load: the moments that were saved, and the settings (learning rate ...) of ``optimizer``.

    Settings that differ are logged.

    Args:
        optimizer: as the config says now.
        saved: the ``state_dict`` of the optimizer of the checkpoint.

    Raises:
        CheckpointError: it is of another kind, or of other parameters or another grouping of them.
    """
    own = optimizer.state_dict()
    _check_kind(own, saved)
    _check_parameters(optimizer, saved)
    for line in _changes(saved["param_groups"], own["param_groups"]):
        logger.warning("--resume goes on with what the config says now: %s", line)
    return {**saved, "param_groups": own["param_groups"]}


def _check_kind(own: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    now, before = _kind(own), _kind(saved)
    if now != before:
        raise CheckpointError(
            f"--resume: the checkpoint was trained with {before}, and SOLVER.OPTIMIZER is {now}; set it back "
            f"to {before}, {_INSTEAD}"
        )


def _kind(state: Mapping[str, Any]) -> str:
    return "AdamW" if "betas" in state["param_groups"][0] else "SGD"


def _check_parameters(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """That the state saved of each parameter is of one of its shape, without which torch crashes."""
    groups = saved["param_groups"]
    sizes = [len(group["params"]) for group in optimizer.param_groups]
    fits = sizes == [len(group["params"]) for group in groups]
    if fits:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        indices = [index for group in groups for index in group["params"]]
        fits = all(
            value.shape == parameter.shape
            for parameter, index in zip(parameters, indices)
            for value in saved["state"].get(index, {}).values()
            if isinstance(value, torch.Tensor) and value.dim() > 0
        )
    if not fits:
        raise CheckpointError(
            "--resume: the checkpoint trained other parameters, or with other factors on rate and decay "
            "(MODEL.EFFICIENTNET.FREEZE_AT, SOLVER.BACKBONE_MULTIPLIER, BIAS_LR_FACTOR, "
            f"WEIGHT_DECAY_NORM, WEIGHT_DECAY_BIAS); set them back, {_INSTEAD}"
        )


def _changes(before: List[Dict[str, Any]], now: List[Dict[str, Any]]) -> List[str]:
    """A line for each key of the config whose value was another, of the first group that shows it."""
    lines: Dict[str, str] = {}
    for old, new in zip(before, now):
        for setting, key in _KEYS.items():
            if setting in old and setting in new and old[setting] != new[setting]:
                lines.setdefault(key, f"{key} {new[setting]:g}, not {old[setting]:g}")
    return list(lines.values())
