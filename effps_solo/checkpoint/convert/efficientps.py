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

_NECK_RULES = (
    Rule(r"neck\.lateral_convs_top\.(\d)", r"backbone.lateral_top_down.\1", MMCV_CONV),
    *(
        Rule(
            rf"neck\.lateral_convs_bottom\.{_LEVELS - 1 - i}",
            f"backbone.lateral_bottom_up.{i}",
            MMCV_CONV,
        )
        for i in range(_LEVELS)
    ),
    Rule(r"neck\.fpn_convs\.(\d)", r"backbone.output_convs.\1", {**MMCV_CONV, **MMCV_SEPARABLE}),
)
_SEMANTIC_RULES = tuple(
    Rule(rf"semantic_head\.{theirs}", f"sem_seg_head.{ours}", names)
    for theirs, ours, names in (
        (r"lateral_convs_ss\.0\.convs\.(\d)", r"dpc5.convs.\1", MMCV_SEPARABLE),
        (r"lateral_convs_ss\.0\.conv", "dpc5.project", MMCV_CONV),
        (r"lateral_convs_ss\.1\.convs\.(\d)", r"dpc4.convs.\1", MMCV_SEPARABLE),
        (r"lateral_convs_ss\.1\.conv", "dpc4.project", MMCV_CONV),
        (r"lateral_convs_ls\.0\.convs\.(\d)", r"lsfe3.\1", MMCV_SEPARABLE),
        (r"lateral_convs_ls\.1\.convs\.(\d)", r"lsfe2.\1", MMCV_SEPARABLE),
        (r"aligning_convs\.0\.convs\.(\d)", r"mc4.convs.\1", MMCV_SEPARABLE),
        (r"aligning_convs\.1\.convs\.(\d)", r"mc3.convs.\1", MMCV_SEPARABLE),
        ("conv_logits", "predictor", WEIGHT_BIAS),
    )
)
RULES = (*efficientnet_rules("backbone."), *_NECK_RULES, *_SEMANTIC_RULES, *MASK_RCNN_RULES)


def convert_efficientps(state: StateDict) -> Tuple[StateDict, ConversionReport]:
    """A state dict, in which any part of the network may be absent -> ours, and the report."""
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
    if name := efficientnet_name(state, "backbone."):
        settings["MODEL.EFFICIENTNET.NAME"] = name
    if output := [key for key in converted if key.startswith("backbone.output_convs.0.")]:
        settings["MODEL.TWO_WAY_FPN.SEPARABLE"] = any("depthwise" in key for key in output)
    if (lateral := converted.get("backbone.lateral_top_down.0.weight")) is not None:
        settings["MODEL.TWO_WAY_FPN.OUT_CHANNELS"] = len(lateral)
    if (logits := converted.get("sem_seg_head.predictor.weight")) is not None:
        settings["MODEL.SEM_SEG_HEAD.NUM_CLASSES"] = len(logits)
        settings["MODEL.SEM_SEG_HEAD.CONVS_DIM"] = logits.shape[1] // _LEVELS
    return settings
