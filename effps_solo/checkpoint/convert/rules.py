"""Tables of names: which module of a foreign network is which of ours."""

import re
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import torch

from effps_solo.utils.errors import CheckpointError

from .report import ConversionReport

StateDict = Dict[str, torch.Tensor]
Names = Mapping[str, str]

# Parameter names below a module: theirs -> ours.
WEIGHT: Names = {"weight": "weight"}
WEIGHT_BIAS: Names = {"weight": "weight", "bias": "bias"}
STATISTICS: Names = {name: name for name in ("running_mean", "running_var", "num_batches_tracked")}
NORM: Names = {**WEIGHT_BIAS, **STATISTICS}
# mmcv's ConvModule; its norm is called after its type.
MMCV_CONV: Names = {
    "conv.weight": "weight",
    "conv.bias": "bias",
    **{f"bn.{theirs}": f"norm.{ours}" for theirs, ours in NORM.items()},
    **{f"gn.{theirs}": f"norm.{ours}" for theirs, ours in WEIGHT_BIAS.items()},
}
# mmdetection's depthwise separable module, Detectron2's DepthwiseSeparableConv2d.
MMCV_SEPARABLE: Names = {
    f"{part}_conv.{theirs}": f"{part}.{ours}"
    for part in ("depthwise", "pointwise")
    for theirs, ours in MMCV_CONV.items()
}


@dataclass(frozen=True)
class Rule:
    """One kind of module.

    ``pattern`` is a regular expression for the whole path of the foreign module, ``path`` ours (with
    its groups as \\1, \\2), ``names`` the parameters below it.
    """

    pattern: str
    path: str
    names: Names

    def apply(self, key: str) -> Optional[str]:
        """Our name of the foreign ``key``, None when the rule is not about it."""
        found = re.fullmatch(rf"{self.pattern}\.(?P<parameter>.+)", key)
        if found is None or found["parameter"] not in self.names:
            return None
        return f"{found.expand(self.path)}.{self.names[found['parameter']]}"


# Regular expression for whole keys that are left out on purpose, and why.
LeftOut = Tuple[str, str]


def apply_rules(
    state: StateDict,
    rules: Sequence[Rule],
    report: ConversionReport,
    left_out: Sequence[LeftOut] = (),
) -> StateDict:
    """Foreign key -> tensor becomes our key -> the same tensor, by the first rule that knows the key.

    Every key ends in the report's converted, left_out (looked at first) or unmatched, filled in place.
    Raises CheckpointError when two keys of the file mean the same tensor.
    """
    converted: StateDict = {}
    for key, tensor in state.items():
        reason = next((why for pattern, why in left_out if re.fullmatch(pattern, key)), None)
        names: List[str] = [n for n in (rule.apply(key) for rule in rules) if n is not None]
        if reason is not None:
            report.left_out[key] = reason
        elif not names:
            report.unmatched.append(key)
        elif names[0] in converted:
            raise CheckpointError(f"'{key}' and another key of the file are both '{names[0]}'")
        else:
            converted[names[0]] = tensor
            report.converted[key] = names[0]
    return converted
