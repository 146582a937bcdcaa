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


def _adelaidet_rules() -> Tuple[Rule, ...]:
    """Towers are sequences of convolution, norm, ReLU."""
    towers = [
        rule
        for theirs, ours in (("cate_tower", "category_tower"), ("kernel_tower", "kernel_tower"))
        for i in range(_MAX_CONVS)
        for rule in (
            Rule(rf"ins_head\.{theirs}\.{3 * i}", f"{_GRID}.{ours}.{i}", WEIGHT),
            Rule(rf"ins_head\.{theirs}\.{3 * i + 1}", f"{_GRID}.{ours}.{i}", _GN),
        )
    ]
    level = r"mask_head\.convs_all_levels\.(\d)\.conv(\d)"
    return (
        *towers,
        Rule(r"ins_head\.cate_pred", f"{_GRID}.category_predictor", WEIGHT_BIAS),
        Rule(r"ins_head\.kernel_pred", f"{_GRID}.kernel_predictor", WEIGHT_BIAS),
        Rule(rf"{level}\.0", rf"{_MASK}.levels.\1.\2", WEIGHT),
        Rule(rf"{level}\.1", rf"{_MASK}.levels.\1.\2", _GN),
        Rule(r"mask_head\.conv_pred\.0", f"{_MASK}.predictor", WEIGHT),
        Rule(r"mask_head\.conv_pred\.1", f"{_MASK}.predictor", _GN),
        *DETECTRON2_RULES,
    )


def _mmcv_rules(
    head: str, category: str, predictors: Tuple[str, str], mask_branch: str, mask_predictor: str
) -> Tuple[Rule, ...]:
    """Rules of the two mmdetection layouts; the arguments are patterns of module names."""
    return (
        Rule(rf"{head}\.{category}\.(\d+)", rf"{_GRID}.category_tower.\1", MMCV_CONV),
        Rule(rf"{head}\.kernel_convs\.(\d+)", rf"{_GRID}.kernel_tower.\1", MMCV_CONV),
        Rule(rf"{head}\.{predictors[0]}", f"{_GRID}.category_predictor", WEIGHT_BIAS),
        Rule(rf"{head}\.{predictors[1]}", f"{_GRID}.kernel_predictor", WEIGHT_BIAS),
        Rule(
            rf"{mask_branch}\.convs_all_levels\.(\d)\.conv(\d)",
            rf"{_MASK}.levels.\1.\2",
            MMCV_CONV,
        ),
        Rule(rf"{mask_branch}\.{mask_predictor}", f"{_MASK}.predictor", MMCV_CONV),
        *TORCHVISION_RULES,
    )


_RULES: Dict[str, Tuple[Rule, ...]] = {
    ADELAIDET: _adelaidet_rules(),
    SOLO: _mmcv_rules(
        "bbox_head", "cate_convs", ("solo_cate", "solo_kernel"), "mask_feat_head", r"conv_pred\.0"
    ),
    MMDET: _mmcv_rules(
        "mask_head",
        "cls_convs",
        ("conv_cls", "conv_kernel"),
        r"mask_head\.mask_feature_head",
        "conv_pred",
    ),
}


def convert_solov2(state: StateDict, layout: str) -> Tuple[StateDict, ConversionReport]:
    """
    Args:
        state: of the whole detector.
        layout: "adelaidet", "solo" or "mmdet".

    Returns:
        our state dict and the report.

    Raises:
        CheckpointError: deformable convolutions, or dynamic kernels larger than 1x1.
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
    offsets = [key for key in state if any(p.endswith("_offset") for p in key.split("."))]
    if offsets:
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
