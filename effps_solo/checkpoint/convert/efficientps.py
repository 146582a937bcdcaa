"""EfficientPS checkpoints of its authors (mmcv) -> backbone, neck, semantic head, Mask R-CNN head.

In-place ABN scales by ``|weight| + eps``, so that is what a plain norm gets; the bottom-up laterals
are stored coarse to fine; output convolutions of the neck are full (as released) or separable (the
paper). Nothing else differs from a change of names.
"""

from typing import Any, Dict, Tuple

import torch

from .efficientps_mask_rcnn import MASK_RCNN_RULES, mask_rcnn_settings, reorder_classes
from .report import ConversionReport
from .rules import MMCV_CONV, MMCV_SEPARABLE, WEIGHT_BIAS, Rule, StateDict, apply_rules
from .timm_efficientnet import efficientnet_name, efficientnet_rules

LAYOUT = "efficientps"
BACKBONE_EPS, OTHER_EPS = 1e-3, 1e-5  # of the norms, also added to |weight|
_LEVELS = 4
# Our module -> index in the lists of theirs.
_DPC = {"dpc5": 0, "dpc4": 1}
_LSFE = {"lsfe3": 0, "lsfe2": 1}
_MC = {"mc4": 0, "mc3": 1}

_NECK_RULES: Tuple[Rule, ...] = (
    Rule(r"neck\.lateral_convs_top\.(\d)", r"backbone.lateral_top_down.\1", MMCV_CONV),
    *(
        Rule(
            rf"neck\.lateral_convs_bottom\.{_LEVELS - 1 - level}",
            f"backbone.lateral_bottom_up.{level}",
            MMCV_CONV,
        )
        for level in range(_LEVELS)
    ),
    Rule(r"neck\.fpn_convs\.(\d)", r"backbone.output_convs.\1", {**MMCV_CONV, **MMCV_SEPARABLE}),
)
_SEMANTIC_RULES: Tuple[Rule, ...] = (
    *(
        rule
        for ours, index in _DPC.items()
        for rule in (
            Rule(
                rf"semantic_head\.lateral_convs_ss\.{index}\.convs\.(\d)",
                rf"sem_seg_head.{ours}.convs.\1",
                MMCV_SEPARABLE,
            ),
            Rule(
                rf"semantic_head\.lateral_convs_ss\.{index}\.conv",
                f"sem_seg_head.{ours}.project",
                MMCV_CONV,
            ),
        )
    ),
    *(
        Rule(
            rf"semantic_head\.lateral_convs_ls\.{index}\.convs\.(\d)",
            rf"sem_seg_head.{ours}.\1",
            MMCV_SEPARABLE,
        )
        for ours, index in _LSFE.items()
    ),
    *(
        Rule(
            rf"semantic_head\.aligning_convs\.{index}\.convs\.(\d)",
            rf"sem_seg_head.{ours}.convs.\1",
            MMCV_SEPARABLE,
        )
        for ours, index in _MC.items()
    ),
    Rule(r"semantic_head\.conv_logits", "sem_seg_head.predictor", WEIGHT_BIAS),
)
RULES = (*efficientnet_rules("backbone."), *_NECK_RULES, *_SEMANTIC_RULES, *MASK_RCNN_RULES)


def convert_efficientps(state: StateDict) -> Tuple[StateDict, ConversionReport]:
    """
    Args:
        state: keys below backbone, neck, semantic_head, rpn_head, bbox_head and mask_head; any part
            may be absent.

    Returns:
        our state dict and the report.
    """
    report = ConversionReport(LAYOUT)
    folded = fold_in_place_abn(state)
    converted = apply_rules(folded, RULES, report)
    reorder_classes(converted)
    norms = [key for key, value in state.items() if folded[key] is not value]
    negative = sum(int((state[key] < 0).sum()) for key in norms)
    report.notes.append(
        f"in-place ABN folded into {len(norms)} norms as |weight| + eps; {negative} of their weights "
        "are negative"
    )
    report.settings.update(_settings(state, converted))
    report.settings.update(mask_rcnn_settings(converted, report))
    report.notes.append(
        "mean and standard deviation are those of the published Cityscapes config; a checkpoint of "
        "another data set comes with its own config"
    )
    return converted, report


def fold_in_place_abn(state: StateDict) -> StateDict:
    """``state`` with ``|weight| + eps`` for the weight of every norm; other tensors are the same."""
    folded = dict(state)
    for key, value in state.items():
        module, _, name = key.rpartition(".")
        if name == "weight" and f"{module}.running_var" in state:
            eps = BACKBONE_EPS if key.startswith("backbone.") else OTHER_EPS
            folded[key] = torch.abs(value) + eps
    return folded


def _settings(state: StateDict, converted: StateDict) -> Dict[str, Any]:
    """Config keys that the shapes tell, and the preprocessing of the published config."""
    settings: Dict[str, Any] = {
        "INPUT.FORMAT": "RGB",
        "MODEL.PIXEL_MEAN": [106.433, 116.617, 119.559],
        "MODEL.PIXEL_STD": [65.496, 67.6, 74.123],
        "MODEL.BACKBONE.NAME": "build_efficientnet_two_way_fpn_backbone",
        "MODEL.EFFICIENTNET.CONV_HEAD": "backbone.conv_head.weight" in state,
        "MODEL.EFFICIENTNET.SQUEEZE_EXCITE": any(".se." in key for key in state),
        "MODEL.EFFICIENTNET.ACTIVATION": "leaky_relu",
        "MODEL.EFFICIENTNET.STAGE0_ACTIVATION": True,
    }
    name = efficientnet_name(state, "backbone.")
    if name is not None:
        settings["MODEL.EFFICIENTNET.NAME"] = name
    output = [key for key in converted if key.startswith("backbone.output_convs.0.")]
    if output:
        separable = any("depthwise" in key for key in output)
        settings["MODEL.TWO_WAY_FPN.SEPARABLE"] = separable
    lateral = converted.get("backbone.lateral_top_down.0.weight")
    if lateral is not None:
        settings["MODEL.TWO_WAY_FPN.OUT_CHANNELS"] = len(lateral)
    logits = converted.get("sem_seg_head.predictor.weight")
    if logits is not None:
        settings["MODEL.SEM_SEG_HEAD.NUM_CLASSES"] = len(logits)
        settings["MODEL.SEM_SEG_HEAD.CONVS_DIM"] = logits.shape[1] // _LEVELS
    return settings
