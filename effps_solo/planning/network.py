"""The network of a plan: EfficientNet-lite0 with 96 channels, which trains on two cores.

The values are those of configs/Base-EffPS-Lite0.yaml, written out so that the config stands alone.
"""

from typing import List

from .choice import Choice
from .machine import Machine

WEIGHTS = "imagenet://tf_efficientnet_lite0"
_FIXED = (
    ("MODEL.META_ARCHITECTURE", "EfficientPS"),
    ("MODEL.PIXEL_MEAN", [127.5, 127.5, 127.5]),
    ("MODEL.PIXEL_STD", [127.5, 127.5, 127.5]),
    ("MODEL.BACKBONE.NAME", "build_efficientnet_two_way_fpn_backbone"),
    ("MODEL.EFFICIENTNET.NAME", "tf_efficientnet_lite0"),
    ("MODEL.EFFICIENTNET.ACTIVATION", "relu6"),
    ("MODEL.EFFICIENTNET.CONV_HEAD", False),
    ("MODEL.EFFICIENTNET.STAGE0_ACTIVATION", False),
    ("MODEL.TWO_WAY_FPN.OUT_CHANNELS", 96),
    ("MODEL.SEM_SEG_HEAD.CONVS_DIM", 64),
    ("MODEL.SOLOV2.CHANNELS", 96),
    ("MODEL.SOLOV2.KERNEL_DIM", 64),
    ("MODEL.SOLOV2.MASK_CHANNELS", 64),
    ("MODEL.ROI_MASK_HEAD.CONV_DIM", 96),
    ("INPUT.FORMAT", "RGB"),
    ("DATALOADER.ASPECT_RATIO_GROUPING", False),
    ("DATALOADER.FILTER_EMPTY_ANNOTATIONS", False),
    ("SOLVER.OPTIMIZER", "AdamW"),
    ("SOLVER.BASE_LR", 0.002),
    ("SOLVER.BIAS_LR_FACTOR", 1.0),
    ("SOLVER.WEIGHT_DECAY", 0.01),
    ("SOLVER.WEIGHT_DECAY_NORM", 0.0),
    ("SOLVER.WEIGHT_DECAY_BIAS", 0.0),
    ("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"),
    ("SOLVER.CLIP_GRADIENTS.ENABLED", True),
    ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full_model"),
    ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 10.0),
)
_REASONS = {
    "MODEL.META_ARCHITECTURE": "EfficientPS with EfficientNet-lite0 and 96 channels: small enough for CPUs.",
    "MODEL.PIXEL_MEAN": "What the ImageNet weights of lite0 were trained with.",
    "SOLVER.OPTIMIZER": "AdamW with the gradients clipped together: few steps suffice, and none goes astray.",
}


def network_choices(machine: Machine) -> List[Choice]:
    """Architecture, optimiser, device and precision."""
    where = f"Planned on {machine.name}"
    choices = [Choice("MODEL.DEVICE", machine.device, f"{where}, {machine.num_cores} cores.")]
    choices += [Choice(key, value, _REASONS.get(key, "")) for key, value in _FIXED]
    choices.append(
        Choice(
            "MODEL.WEIGHTS", WEIGHTS, "ImageNet weights, which a package of the installation holds."
        )
    )
    if machine.fast_bf16 or machine.device == "cuda":
        precision = "bf16" if machine.fast_bf16 else "fp16"
        reason = f"This processor computes faster in {precision}; quality stays."
        choices.append(Choice("SOLVER.AMP.ENABLED", True, reason))
        choices.append(Choice("SOLVER.AMP.PRECISION", precision))
    return choices
