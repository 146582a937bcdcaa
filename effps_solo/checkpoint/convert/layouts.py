"""Which published checkpoint is it? Opening of the file's dictionary, recognition, conversion."""

import re
from collections import Counter
from typing import Any, Dict, Tuple

import numpy as np
import torch

from effps_solo.utils.errors import CheckpointError

from .efficientps import LAYOUT as EFFICIENTPS
from .efficientps import convert_efficientps
from .report import ConversionReport
from .rules import StateDict
from .solov2 import ADELAIDET, MMDET, SOLO, convert_solov2
from .timm_efficientnet import LAYOUT as TIMM
from .timm_efficientnet import convert_timm_efficientnet

# Layout -> regular expressions; a file is of it when each begins one of its keys.
_SIGNS: Dict[str, Tuple[str, ...]] = {
    EFFICIENTPS: (r"backbone\.conv_stem\.", r"neck\.lateral_convs_(top|bottom)\.|semantic_head\."),
    ADELAIDET: (r"ins_head\.cate_tower\.", r"ins_head\.kernel_tower\."),
    SOLO: (r"bbox_head\.cate_convs\.", r"bbox_head\.kernel_convs\."),
    MMDET: (r"mask_head\.cls_convs\.", r"mask_head\.mask_feature_head\."),
    TIMM: (r"conv_stem\.", r"blocks\.0\.0\.conv_dw\."),
}
LAYOUTS = tuple(_SIGNS)
AUTO = "auto"
_OWN = re.compile(r"backbone\.lateral_top_down\.|sem_seg_head\.dpc5\.|instance_head\.")
# Where training programs keep the weights, and what data-parallel training puts before the names.
_CONTAINERS = ("state_dict", "model")
_WRAPPER = "module."


def convert_checkpoint(
    loaded: Dict[str, Any], layout: str = AUTO, squeeze_excite: bool = False
) -> Tuple[StateDict, ConversionReport]:
    """Convert what a checkpoint file holds: our state dict and the report.

    Args:
        loaded: a state dict, or a dict with one as "state_dict" or "model"; the rest (optimizer,
            meta) is dropped.
        layout: one of LAYOUTS, or "auto".
        squeeze_excite: the target has squeeze-and-excitation blocks ("timm" only).

    Raises:
        CheckpointError: no weights, not of the layout, unclear which, or not convertible.
    """
    state = open_state_dict(loaded)
    layout = detect_layout(state) if layout == AUTO else _check_layout(state, layout)
    if layout == EFFICIENTPS:
        return convert_efficientps(state)
    if layout == TIMM:
        return convert_timm_efficientnet(state, squeeze_excite)
    return convert_solov2(state, layout)


def open_state_dict(loaded: Dict[str, Any]) -> StateDict:
    """The tensors in ``loaded``, see :func:`convert_checkpoint`, without a common "module." prefix.

    Raises CheckpointError when there are none, or something else is among them.
    """
    state = next((loaded[c] for c in _CONTAINERS if isinstance(loaded.get(c), dict)), loaded)
    tensors: StateDict = {}
    for key, value in state.items():
        if not isinstance(value, (torch.Tensor, np.ndarray)):
            raise CheckpointError(
                f"the checkpoint holds no plain state dict: '{key}' is a {type(value).__name__}, "
                "not a tensor"
            )
        tensors[str(key)] = torch.as_tensor(value).detach()
    if not tensors:
        raise CheckpointError("the checkpoint holds no weights")
    if all(key.startswith(_WRAPPER) for key in tensors):
        tensors = {key[len(_WRAPPER) :]: value for key, value in tensors.items()}
    return tensors


def detect_layout(state: StateDict) -> str:
    """The one of LAYOUTS whose keys ``state`` has. CheckpointError when it is none, or several."""
    found = [layout for layout in LAYOUTS if _has_signs(state, layout)]
    if len(found) == 1:
        return found[0]
    if any(map(_OWN.match, state)):
        raise CheckpointError(
            "the checkpoint is already one of this project; load it with MODEL.WEIGHTS"
        )
    what = f"keys of several layouts ({', '.join(found)})" if found else "of no layout known here"
    raise CheckpointError(
        f"the checkpoint is unclear: {what}; seen: {_summary(state)}; "
        f"layouts: {', '.join(LAYOUTS)} (choose one with --layout)"
    )


def _check_layout(state: StateDict, layout: str) -> str:
    if layout not in _SIGNS:
        raise CheckpointError(f"unknown layout '{layout}'; choose one of {', '.join(LAYOUTS)}")
    if not _has_signs(state, layout):
        wanted = " and ".join(sign.replace("\\", "") for sign in _SIGNS[layout])
        raise CheckpointError(
            f"the checkpoint is not of the layout '{layout}', which has keys that begin with "
            f"{wanted}; seen: {_summary(state)}"
        )
    return layout


def _has_signs(state: StateDict, layout: str) -> bool:
    return all(any(re.match(sign, key) for key in state) for sign in _SIGNS[layout])


def _summary(state: StateDict) -> str:
    """First parts of the keys with their numbers, and one key: 'backbone (320), ... such as ...'."""
    counts = Counter(key.split(".")[0] for key in state)
    parts = ", ".join(f"{name} ({count})" for name, count in counts.most_common(6))
    return f"{parts}, such as '{next(iter(state))}'"
