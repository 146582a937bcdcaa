"""Keys that mean nothing to the parts which a config names, and what to set instead of them.

Detectron2's defaults hold the keys of all its models, and silence about those that nothing reads costs
trainings. The table only knows parts of this project: what a part of one's own reads is its affair.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from detectron2.config import CfgNode, get_cfg

from .defaults import add_effps_solo_config


class Unused(NamedTuple):
    """A row of the table.

    Attributes:
        keys: of values, or of sections with all that is in them.
        parts: key -> values; where each of these keys has one of its values, ``keys`` are not read.
        instead: what to do, the end of a sentence.
    """

    keys: Tuple[str, ...]
    parts: Mapping[str, Sequence[str]]
    instead: str


_EFFICIENTNET = {"MODEL.BACKBONE.NAME": ("build_efficientnet_two_way_fpn_backbone",)}
_EFFICIENTPS = {"MODEL.META_ARCHITECTURE": ("EfficientPS",)}
_SOLOV2 = {**_EFFICIENTPS, "MODEL.INSTANCE_HEAD.NAME": ("SOLOv2InstanceHead",)}
_ALL_ARCHITECTURES = {"MODEL.META_ARCHITECTURE": ("EfficientPS", "LabelSpacePanopticFPN")}
_SHORTEST_EDGE = {"INPUT.AUGMENTATION": ("shortest_edge",)}
_OTHER_AUGMENTATIONS = {"INPUT.AUGMENTATION": ("scale_crop", "large_scale_jitter")}


def _row(keys: str, parts: Mapping[str, Sequence[str]], instead: str) -> Unused:
    """``keys`` are separated by spaces."""
    return Unused(tuple(keys.split()), parts, instead)


TABLE = (
    _row("MODEL.BACKBONE.FREEZE_AT", _EFFICIENTNET, "set MODEL.EFFICIENTNET.FREEZE_AT"),
    _row("MODEL.RESNETS", _EFFICIENTNET, "set the keys of MODEL.EFFICIENTNET"),
    _row("MODEL.FPN", _EFFICIENTNET, "set the keys of MODEL.TWO_WAY_FPN"),
    _row(
        "MODEL.CLASS_WEIGHTS",
        {
            "MODEL.META_ARCHITECTURE": ("LabelSpacePanopticFPN",),
        },
        "its losses have no weights; take MODEL.META_ARCHITECTURE EfficientPS",
    ),
    _row("MODEL.ROI_HEADS.NUM_CLASSES", _ALL_ARCHITECTURES, "set MODEL.INSTANCE_HEAD.NUM_CLASSES"),
    # Not MODEL.ROI_MASK_HEAD, which configs for either head give the width of their network.
    _row(
        "MODEL.PROPOSAL_GENERATOR MODEL.ANCHOR_GENERATOR MODEL.RPN MODEL.ROI_HEADS MODEL.ROI_BOX_HEAD",
        _SOLOV2,
        "set the keys of MODEL.SOLOV2, or MODEL.INSTANCE_HEAD.NAME MaskRCNNInstanceHead",
    ),
    _row(
        "MODEL.SEM_SEG_HEAD.COMMON_STRIDE",
        {"MODEL.SEM_SEG_HEAD.NAME": ("EfficientPSSemanticHead",)},
        "its output always has stride 4",
    ),
    _row(
        "MODEL.SEM_SEG_HEAD.IGNORE_VALUE",
        _ALL_ARCHITECTURES,
        "void is the ignore_label in the metadata of DATASETS.TRAIN[0]",
    ),
    _row(
        "MODEL.PANOPTIC_FPN.COMBINE",
        _ALL_ARCHITECTURES,
        "set SCORE_THRESH, OVERLAP_THRESH and STUFF_AREA_FRACTION of MODEL.PANOPTIC_FUSION",
    ),
    _row(
        "MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT",
        _EFFICIENTPS,
        "set the weights of the losses themselves, as MODEL.SOLOV2.MASK_LOSS_WEIGHT",
    ),
    _row(
        "INPUT.MIN_SIZE_TRAIN INPUT.MIN_SIZE_TRAIN_SAMPLING INPUT.MAX_SIZE_TRAIN INPUT.CROP",
        _OTHER_AUGMENTATIONS,
        "set INPUT.SCALE_RANGE and INPUT.CROP_SIZE, or INPUT.AUGMENTATION shortest_edge",
    ),
    _row(
        "INPUT.MIN_SIZE_TEST INPUT.MAX_SIZE_TEST",
        _OTHER_AUGMENTATIONS,
        "set INPUT.TEST_SCALE, or INPUT.AUGMENTATION shortest_edge",
    ),
    _row(
        "INPUT.BASE_SHORTEST_EDGE",
        {"INPUT.AUGMENTATION": ("large_scale_jitter",)},
        "images are brought to INPUT.CROP_SIZE",
    ),
    _row(
        "INPUT.BASE_SHORTEST_EDGE INPUT.SCALE_RANGE INPUT.CROP_SIZE INPUT.CROP_OBJECT_PROB",
        _SHORTEST_EDGE,
        "set INPUT.MIN_SIZE_TRAIN, INPUT.MAX_SIZE_TRAIN and INPUT.CROP, or another INPUT.AUGMENTATION",
    ),
    _row("INPUT.TEST_SCALE", _SHORTEST_EDGE, "set INPUT.MIN_SIZE_TEST and INPUT.MAX_SIZE_TEST"),
    _row(
        "SOLVER.MOMENTUM SOLVER.NESTEROV",
        {"SOLVER.OPTIMIZER": ("AdamW",)},
        "set SOLVER.OPTIMIZER SGD",
    ),
    _row("TEST.AUG.MIN_SIZES TEST.AUG.MAX_SIZE", _ALL_ARCHITECTURES, "set TEST.AUG.SCALES"),
)


def unused_keys(cfg: CfgNode) -> List[str]:
    """A line for each key that has another value than its default, which nothing is going to read.

    Args:
        cfg: as files and overrides leave it, before anything is filled in.
    """
    default = get_cfg()
    add_effps_solo_config(default)
    lines: Dict[str, str] = {}
    for row in TABLE:
        if not all(value_of(cfg, key) in values for key, values in row.parts.items()):
            continue
        parts = " and ".join(f"{key} {value_of(cfg, key)}" for key in row.parts)
        for key in (leaf for key in row.keys for leaf in _leaves(default, key)):
            value = value_of(cfg, key)
            if value != value_of(default, key) and key not in lines:
                lines[key] = f"{key} is {value}, which has no effect with {parts}: {row.instead}"
    return list(lines.values())


def value_of(cfg: CfgNode, key: str) -> Any:
    """What stands under a dotted key."""
    for name in key.split("."):
        cfg = cfg[name]
    return cfg


def _leaves(cfg: CfgNode, key: str) -> List[str]:
    """``key``, or of a section the keys of all values in it."""
    node = value_of(cfg, key)
    if not isinstance(node, CfgNode):
        return [key]
    return [leaf for name in node for leaf in _leaves(cfg, f"{key}.{name}")]
