"""SOLOv2 checkpoints in three layouts -> ``instance_head`` (variant "full") and the ResNet-FPN backbone.

``adelaidet``: AdelaiDet. ``solo``: WXinlong/SOLO (mmdetection 1.0). ``mmdet``: mmdetection from 2.25
on. ``mask_head`` means the mask branch in the first and the whole head in the last, so that the layout
decides, never a prefix. The class channels are in the same order in all three; the coordinates are the
last two input channels, x before y.
"""

from typing import Any, Dict, Tuple

from effps_solo.utils.errors import CheckpointError

from .report import ConversionReport
from .resnet_fpn import COUNTERS, DETECTRON2_RULES, TORCHVISION_RULES, resnet_settings
from .rules import MMCV_CONV, WEIGHT, WEIGHT_BIAS, Rule, StateDict, apply_rules

ADELAIDET, SOLO, MMDET = "adelaidet", "solo", "mmdet"
_GRID, _MASK = "instance_head.grid_branches", "instance_head.mask_branch"
_GN = {"weight": "norm.weight", "bias": "norm.bias"}
_MAX_CONVS = 8  # of a tower; published: 4, 3 and 2
_FULL_CHANNELS = 512
# By the width of the towers: shorter and longer edge at test time, and the scale ranges in pixels.
_FULL_SETTINGS: Dict[str, Any] = {
    "INPUT.MIN_SIZE_TEST": 800,
    "INPUT.MAX_SIZE_TEST": 1333,
    "MODEL.SOLOV2.SCALE_RANGES": [[1, 96], [48, 192], [96, 384], [192, 768], [384, 2048]],
}
_LIGHT_SETTINGS: Dict[str, Any] = {
    "INPUT.MIN_SIZE_TEST": 448,
    "INPUT.MAX_SIZE_TEST": 768,
    "MODEL.SOLOV2.SCALE_RANGES": [[1, 56], [28, 112], [56, 224], [112, 448], [224, 896]],
}


_MMDET_MASK = r"mask_head\.mask_feature_head"
_MASK_CONVS = r"convs_all_levels\.(\d)\.conv(\d)"
_RULES: Dict[str, Tuple[Rule, ...]] = {
    ADELAIDET: (
        *(
            Rule(rf"ins_head\.{theirs}_tower\.{3 * i + k}", f"{_GRID}.{ours}_tower.{i}", names)
            for theirs, ours in (("cate", "category"), ("kernel", "kernel"))
            for i in range(_MAX_CONVS)
            for k, names in enumerate((WEIGHT, _GN))  # a sequence of convolution, norm, ReLU
        ),
        Rule(r"ins_head\.cate_pred", f"{_GRID}.category_predictor", WEIGHT_BIAS),
        Rule(r"ins_head\.kernel_pred", f"{_GRID}.kernel_predictor", WEIGHT_BIAS),
        Rule(rf"mask_head\.{_MASK_CONVS}\.0", rf"{_MASK}.levels.\1.\2", WEIGHT),
        Rule(rf"mask_head\.{_MASK_CONVS}\.1", rf"{_MASK}.levels.\1.\2", _GN),
        Rule(r"mask_head\.conv_pred\.0", f"{_MASK}.predictor", WEIGHT),
        Rule(r"mask_head\.conv_pred\.1", f"{_MASK}.predictor", _GN),
        *DETECTRON2_RULES,
    ),
    SOLO: (
        Rule(r"bbox_head\.cate_convs\.(\d+)", rf"{_GRID}.category_tower.\1", MMCV_CONV),
        Rule(r"bbox_head\.kernel_convs\.(\d+)", rf"{_GRID}.kernel_tower.\1", MMCV_CONV),
        Rule(r"bbox_head\.solo_cate", f"{_GRID}.category_predictor", WEIGHT_BIAS),
        Rule(r"bbox_head\.solo_kernel", f"{_GRID}.kernel_predictor", WEIGHT_BIAS),
        Rule(rf"mask_feat_head\.{_MASK_CONVS}", rf"{_MASK}.levels.\1.\2", MMCV_CONV),
        Rule(r"mask_feat_head\.conv_pred\.0", f"{_MASK}.predictor", MMCV_CONV),
        *TORCHVISION_RULES,
    ),
    MMDET: (
        Rule(r"mask_head\.cls_convs\.(\d+)", rf"{_GRID}.category_tower.\1", MMCV_CONV),
        Rule(r"mask_head\.kernel_convs\.(\d+)", rf"{_GRID}.kernel_tower.\1", MMCV_CONV),
        Rule(r"mask_head\.conv_cls", f"{_GRID}.category_predictor", WEIGHT_BIAS),
        Rule(r"mask_head\.conv_kernel", f"{_GRID}.kernel_predictor", WEIGHT_BIAS),
        Rule(rf"{_MMDET_MASK}\.{_MASK_CONVS}", rf"{_MASK}.levels.\1.\2", MMCV_CONV),
        Rule(rf"{_MMDET_MASK}\.conv_pred", f"{_MASK}.predictor", MMCV_CONV),
        *TORCHVISION_RULES,
    ),
}


def convert_solov2(state: StateDict, layout: str) -> Tuple[StateDict, ConversionReport]:
    """The state dict of a whole detector of one of the three layouts -> ours, and the report.

    Raises CheckpointError for deformable convolutions, or dynamic kernels larger than 1x1.
    """
    refuse_deformable(state)
    report = ConversionReport(layout)
    converted = apply_rules(state, _RULES[layout], report, [COUNTERS])
    report.settings.update(resnet_settings(converted, torchvision_style=layout != ADELAIDET))
    report.settings.update(_head_settings(converted))
    report.notes.append("the file has no weights for a semantic head")
    report.notes.append("MODEL.SOLOV2.PARITY True decodes as the published code, faults and all")
    return converted, report


def refuse_deformable(state: StateDict) -> None:
    """Raise CheckpointError when ``state`` has deformable convolutions."""
    if offsets := [key for key in state if any(p.endswith("_offset") for p in key.split("."))]:
        raise CheckpointError(
            f"the checkpoint has deformable convolutions ({len(offsets)} keys such as "
            f"'{offsets[0]}'), which this project does not have; take a variant without DCN"
        )


def _head_settings(converted: StateDict) -> Dict[str, Any]:
    """Config keys of the head in ``converted``; empty when its last layers are not in the file."""
    predictors = [f"{_GRID}.{name}_predictor.weight" for name in ("category", "kernel")]
    mask_predictor = f"{_MASK}.predictor.weight"
    if any(key not in converted for key in (*predictors, mask_predictor)):
        return {}
    category, kernel = (converted[key] for key in predictors)
    kernel_dim, mask_channels = converted[mask_predictor].shape[:2]
    if len(kernel) != kernel_dim:
        raise CheckpointError(
            f"the dynamic kernels have {len(kernel)} numbers for {kernel_dim} mask features; only 1x1 "
            "kernels are supported"
        )
    channels = category.shape[1]
    return {
        "INPUT.AUGMENTATION": "shortest_edge",
        "MODEL.INSTANCE_HEAD.NAME": "SOLOv2InstanceHead",
        "MODEL.INSTANCE_HEAD.NUM_CLASSES": len(category),
        "MODEL.SOLOV2.VARIANT": "full",
        "MODEL.SOLOV2.NUM_CONVS": sum(
            f"{_GRID}.category_tower.{i}.weight" in converted for i in range(_MAX_CONVS)
        ),
        "MODEL.SOLOV2.CHANNELS": channels,
        "MODEL.SOLOV2.KERNEL_DIM": kernel_dim,
        "MODEL.SOLOV2.MASK_CHANNELS": mask_channels,
        "MODEL.SOLOV2.NORM": "GN",
        "MODEL.SOLOV2.NUM_GRIDS": [[s, s] for s in (40, 36, 24, 16, 12)],
        **(_FULL_SETTINGS if channels >= _FULL_CHANNELS else _LIGHT_SETTINGS),
    }
