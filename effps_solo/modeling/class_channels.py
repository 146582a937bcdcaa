"""Which class each channel of a network's last layers stands for.

C classes, T of them things.
"""

import re
from typing import Callable, Dict, Hashable, List, Optional, Sequence

from effps_solo.structures.classes import PanopticClass, class_keys

Classes = Sequence[PanopticClass]
Channels = List[Hashable]
BACKGROUND = "background"
THINGS = "things"
_BOX_SIDES = 4


def _every_class(classes: Classes) -> Channels:
    return [*class_keys(classes)]


def _things(classes: Classes) -> Channels:
    return [*class_keys([one for one in classes if one.isthing])]


def _things_and_background(classes: Classes) -> Channels:
    return [*_things(classes), BACKGROUND]


def _box_sides(classes: Classes) -> Channels:
    return [(key, side) for key in _things(classes) for side in range(_BOX_SIDES)]


def _things_together(classes: Classes) -> Channels:
    return [THINGS, *class_keys([one for one in classes if not one.isthing])]


_SEMANTIC = re.compile(r"sem_seg_head\.(head\.)?predictor\.(weight|bias)")
# Of SOLOv2, and of Detectron2's ROI heads.
_INSTANCE: Dict[str, Callable[[Classes], Channels]] = {
    r"instance_head\..*\bcategory_predictor\.(weight|bias)": _things,
    r"(instance_head\.)?roi_heads\..*\bcls_score\.(weight|bias)": _things_and_background,
    r"(instance_head\.)?roi_heads\..*\bbbox_pred\.(weight|bias)": _box_sides,
    r"(instance_head\.)?roi_heads\.mask_head\.predictor\.(weight|bias)": _things,
}
# The heads that have such layers; one of a user's own may have them under other names.
HEADS = ("sem_seg_head.", "instance_head.", "roi_heads.")


def class_channels(
    name: str, classes: Classes, things_share_a_channel: bool = False
) -> Optional[Channels]:
    """The meaning of each channel, the first axis, of a tensor in a state dict.

    Args:
        name: of the tensor.
        classes: C, by contiguous id.
        things_share_a_channel: the semantic head has one channel for all things, then the stuff
            (Detectron2's PanopticFPN); else one a class.

    Returns:
        :func:`class_keys` of a class, alone or with the side of its boxes, ``BACKGROUND`` or ``THINGS``; None
        for a tensor that does not depend on the classes. A layer that does not although its kind can (masks
        and boxes that all classes share) has fewer channels than this.
    """
    if _SEMANTIC.fullmatch(name):
        return _things_together(classes) if things_share_a_channel else _every_class(classes)
    for pattern, channels in _INSTANCE.items():
        if re.fullmatch(pattern, name):
            return channels(classes)
    return None
