"""The Mask R-CNN heads of EfficientPS checkpoints -> Detectron2's names below ``instance_head``.

All of the mapping is in the two tables here. Theirs has the background first and predicts boxes and
masks for it too; Detectron2 has it last, in the classification alone. Anchors (three to a location,
aspect ratios ascending) and box deltas come in the same order in both.
"""

from typing import Any, Callable, Dict, Tuple

import torch

from .report import ConversionReport
from .rules import MMCV_SEPARABLE, WEIGHT_BIAS, Rule, StateDict

PREFIX = "instance_head"
_RPN = f"{PREFIX}.proposal_generator.rpn_head"
_ROI = f"{PREFIX}.roi_heads"
_BOX_SIZE = 4  # numbers per box
BACKGROUND_NOTE = (
    "Mask R-CNN heads: background moved from the first to the last row of the classification, its "
    "rows dropped from box regression and masks"
)

MASK_RCNN_RULES: Tuple[Rule, ...] = (
    Rule(r"rpn_head\.rpn_conv", f"{_RPN}.conv", {**WEIGHT_BIAS, **MMCV_SEPARABLE}),
    Rule(r"rpn_head\.rpn_cls", f"{_RPN}.objectness_logits", WEIGHT_BIAS),
    Rule(r"rpn_head\.rpn_reg", f"{_RPN}.anchor_deltas", WEIGHT_BIAS),
    Rule(r"bbox_head\.shared_fcs\.0", f"{_ROI}.box_head.fc1", WEIGHT_BIAS),
    Rule(r"bbox_head\.shared_fcs\.1", f"{_ROI}.box_head.fc2", WEIGHT_BIAS),
    Rule(r"bbox_head\.fc_cls", f"{_ROI}.box_predictor.cls_score", WEIGHT_BIAS),
    Rule(r"bbox_head\.fc_reg", f"{_ROI}.box_predictor.bbox_pred", WEIGHT_BIAS),
    Rule(r"mask_head\.convs\.(\d+)", rf"{_ROI}.mask_head.convs.\1", MMCV_SEPARABLE),
    Rule(r"mask_head\.upsample", f"{_ROI}.mask_head.deconv", WEIGHT_BIAS),
    Rule(r"mask_head\.conv_logits", f"{_ROI}.mask_head.predictor", WEIGHT_BIAS),
)
# Our module -> what happens to the rows (classes) of its weight and bias. A class-agnostic regression
# has the four rows of one box, which stay.
_ROWS: Dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    f"{_ROI}.box_predictor.cls_score": lambda rows: torch.cat([rows[1:], rows[:1]]),
    f"{_ROI}.box_predictor.bbox_pred": lambda rows: (
        rows[_BOX_SIZE:].clone() if len(rows) > _BOX_SIZE else rows
    ),
    f"{_ROI}.mask_head.predictor": lambda rows: rows[1:].clone(),
}


def is_mask_rcnn_key(key: str) -> bool:
    """Whether one of our keys belongs to a Mask R-CNN head."""
    return key.startswith((f"{_RPN}.", f"{_ROI}."))


def reorder_classes(converted: StateDict) -> None:
    """Background last or dropped in the class layers, in place; the keys are already ours."""
    for module, change in _ROWS.items():
        for name in WEIGHT_BIAS.values():
            if f"{module}.{name}" in converted:
                converted[f"{module}.{name}"] = change(converted[f"{module}.{name}"])


def mask_rcnn_settings(converted: StateDict, report: ConversionReport) -> Dict[str, Any]:
    """Config keys of the heads in ``converted``; empty when there are none. Adds notes."""
    if (scores := converted.get(f"{_ROI}.box_predictor.cls_score.bias")) is None:
        return {}
    report.notes.append(BACKGROUND_NOTE)
    num_things = len(scores) - 1
    settings: Dict[str, Any] = {"MODEL.INSTANCE_HEAD.NUM_CLASSES": num_things}
    if f"{_RPN}.conv.depthwise.weight" in converted:
        settings["MODEL.RPN.HEAD_NAME"] = "SeparableRPNHead"
    boxes = converted.get(f"{_ROI}.box_predictor.bbox_pred.bias", ())
    if len(boxes) == _BOX_SIZE and num_things > 1:
        settings["MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG"] = True
    return settings
