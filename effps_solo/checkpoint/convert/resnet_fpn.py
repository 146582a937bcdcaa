"""ResNet-FPN backbones of SOLOv2 checkpoints -> the names of Detectron2's build_resnet_fpn_backbone.

AdelaiDet is built on Detectron2: the same names, MSRA weights (BGR, standard deviation 1, stride in
the first 1x1). WXinlong/SOLO and mmdetection use torchvision's style (RGB, stride in the 3x3).
"""

import re
from typing import Any, Dict, Optional, Tuple

from .rules import NORM, WEIGHT, WEIGHT_BIAS, LeftOut, Rule, StateDict

_OURS = "backbone.bottom_up"
_FIRST_LEVEL = 2  # layer1 is res2, the first FPN level is p2
_FEATURES = ["res2", "res3", "res4", "res5"]
_MEAN_RGB, _STD_RGB = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]

DETECTRON2_RULES: Tuple[Rule, ...] = (
    Rule(rf"({_OURS}\.(?:stem|res\d\.\d+)\.(?:conv\d|shortcut))", r"\1", WEIGHT),
    Rule(rf"({_OURS}\.(?:stem|res\d\.\d+)\.(?:conv\d|shortcut)\.norm)", r"\1", NORM),
    Rule(r"(backbone\.fpn_(?:lateral|output)\d)", r"\1", WEIGHT_BIAS),
)


def _level_rules(index: int) -> Tuple[Rule, ...]:
    """Rules of the ``index``-th stage and FPN level, from 0."""
    block = rf"backbone\.layer{index + 1}\.(\d+)"
    level = index + _FIRST_LEVEL
    ours = rf"{_OURS}.res{level}.\1"
    return (
        Rule(rf"{block}\.conv(\d)", rf"{ours}.conv\2", WEIGHT),
        Rule(rf"{block}\.bn(\d)", rf"{ours}.conv\2.norm", NORM),
        Rule(rf"{block}\.downsample\.0", f"{ours}.shortcut", WEIGHT),
        Rule(rf"{block}\.downsample\.1", f"{ours}.shortcut.norm", NORM),
        Rule(rf"neck\.lateral_convs\.{index}\.conv", f"backbone.fpn_lateral{level}", WEIGHT_BIAS),
        Rule(rf"neck\.fpn_convs\.{index}\.conv", f"backbone.fpn_output{level}", WEIGHT_BIAS),
    )


TORCHVISION_RULES: Tuple[Rule, ...] = (
    Rule(r"backbone\.conv1", f"{_OURS}.stem.conv1", WEIGHT),
    Rule(r"backbone\.bn1", f"{_OURS}.stem.conv1.norm", NORM),
    *(rule for index in range(len(_FEATURES)) for rule in _level_rules(index)),
)
COUNTERS: LeftOut = (
    r"backbone\..+\.num_batches_tracked",
    "Detectron2's frozen norms count no batches",
)
# (blocks of the four stages, whether they are bottlenecks) -> MODEL.RESNETS.DEPTH
_DEPTHS = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}


def resnet_settings(converted: StateDict, torchvision_style: bool) -> Dict[str, Any]:
    """Config keys of the backbone in ``converted`` (our names) and its preprocessing."""
    settings: Dict[str, Any] = {
        "INPUT.FORMAT": "RGB" if torchvision_style else "BGR",
        "MODEL.PIXEL_MEAN": _MEAN_RGB if torchvision_style else _MEAN_RGB[::-1],
        "MODEL.PIXEL_STD": _STD_RGB if torchvision_style else [1.0, 1.0, 1.0],
        "MODEL.BACKBONE.NAME": "build_resnet_fpn_backbone",
        "MODEL.RESNETS.STRIDE_IN_1X1": not torchvision_style,
        "MODEL.RESNETS.OUT_FEATURES": list(_FEATURES),
        "MODEL.FPN.IN_FEATURES": list(_FEATURES),
    }
    if depth := _depth(converted):
        settings["MODEL.RESNETS.DEPTH"] = depth
        if depth < 50:  # Detectron2 wants to be told the width of basic blocks
            settings["MODEL.RESNETS.RES2_OUT_CHANNELS"] = 64
    return settings


def _depth(converted: StateDict) -> Optional[int]:
    block = re.compile(rf"{re.escape(_OURS)}\.res(\d)\.(\d+)\.conv1\.weight")
    found = [m.groups() for m in map(block.fullmatch, converted) if m]
    counts = tuple(sum(stage == f[-1] for stage, _ in found) for f in _FEATURES)
    return _DEPTHS.get((counts, f"{_OURS}.res2.0.conv3.weight" in converted))
