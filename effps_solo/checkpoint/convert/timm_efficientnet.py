"""EfficientNets of timm (``tf_efficientnet_b*``, ``tf_efficientnet_lite*``) -> ``backbone.bottom_up.*``.

The names are the same. Squeeze-and-excitation is kept for a model that has it, else left out like the
classifier. timm's networks without ``tf_`` have the same keys and another padding.
"""

import re
from typing import Any, Dict, Optional, Tuple

from .report import ConversionReport
from .rules import NORM, WEIGHT, WEIGHT_BIAS, LeftOut, Rule, StateDict, apply_rules

LAYOUT = "timm"
# (number of blocks, channels of the last stage) of tf_efficientnet_b0, b1, ... and of lite0, lite1, ...
_SIZES = {
    "b": [(16, 320), (23, 320), (23, 352), (26, 384), (32, 448), (39, 512), (45, 576), (55, 640)],
    "lite": [(16, 320), (21, 320), (21, 352), (24, 384), (30, 448)],
}
_CLASSIFIER: LeftOut = (r"classifier\..+", "ImageNet classifier")
_SQUEEZE_EXCITE: LeftOut = (
    r"blocks\..+\.se\..+",
    "squeeze-and-excitation, which MODEL.EFFICIENTNET.SQUEEZE_EXCITE False leaves away",
)


def efficientnet_rules(prefix: str = "") -> Tuple[Rule, ...]:
    """Rules for an EfficientNet with timm's names below ``prefix`` (with a dot at its end)."""
    start, ours = re.escape(prefix), "backbone.bottom_up."
    block = r"blocks\.\d+\.\d+\."
    return (
        Rule(rf"{start}(conv_stem|conv_head|{block}conv_(?:dw|pw|pwl))", rf"{ours}\1", WEIGHT),
        Rule(rf"{start}(bn[12]|{block}bn[123])", rf"{ours}\1", NORM),
        Rule(rf"{start}({block}se\.conv_(?:reduce|expand))", rf"{ours}\1", WEIGHT_BIAS),
    )


def efficientnet_name(state: StateDict, prefix: str = "", lite: bool = False) -> Optional[str]:
    """timm's name of the network below ``prefix``, None when it is none that is known here.

    Args:
        state: keys with timm's names below ``prefix``.
        prefix: with a dot at its end.
        lite: the smallest of both families has the same shapes; take the lite one.
    """
    last_convs = re.compile(rf"{re.escape(prefix)}blocks\.(\d+)\.(\d+)\.conv_(?:dw|pwl)\.weight")
    blocks = {(int(m[1]), int(m[2])) for m in map(last_convs.fullmatch, state) if m}
    stage, index = max(blocks, default=(0, 0))
    last = state.get(f"{prefix}blocks.{stage}.{index}.conv_pwl.weight", ())
    size = (len(blocks), len(last))
    for family in ("lite", "b") if lite else ("b", "lite"):
        if size in _SIZES[family]:
            return f"tf_efficientnet_{family}{_SIZES[family].index(size)}"
    return None


def convert_timm_efficientnet(
    state: StateDict, squeeze_excite: bool = False
) -> Tuple[StateDict, ConversionReport]:
    """The state dict of timm's network -> ours (the backbone alone), and the report.

    Squeeze-and-excitation blocks stay with ``squeeze_excite``.
    """
    report = ConversionReport(LAYOUT)
    left_out = [_CLASSIFIER] if squeeze_excite else [_CLASSIFIER, _SQUEEZE_EXCITE]
    converted = apply_rules(state, efficientnet_rules(), report, left_out)
    has_squeeze_excite = any(".se." in key for key in state)
    name = efficientnet_name(state, lite=not has_squeeze_excite)
    report.settings.update(_settings(name, squeeze_excite and has_squeeze_excite))
    if name is None:
        report.notes.append("the network is none of tf_efficientnet_b0..b7 and lite0..lite4")
    report.notes.append(
        "only timm's networks whose name begins with tf_ pad as this backbone does; the file does "
        "not tell them from the others"
    )
    if report.left_out and has_squeeze_excite and not squeeze_excite:
        report.notes.append(
            "trained with squeeze-and-excitation and swish: without them the weights are a start for "
            "training, no working classifier of pixels"
        )
    return converted, report


def _settings(name: Optional[str], squeeze_excite: bool) -> Dict[str, Any]:
    settings: Dict[str, Any] = {"INPUT.FORMAT": "RGB"}
    if name is not None:
        settings["MODEL.EFFICIENTNET.NAME"] = name
    is_lite = name is not None and "lite" in name
    if squeeze_excite:
        settings["MODEL.EFFICIENTNET.SQUEEZE_EXCITE"] = True
    if squeeze_excite or is_lite:
        settings["MODEL.EFFICIENTNET.ACTIVATION"] = "relu6" if is_lite else "swish"
        settings["MODEL.EFFICIENTNET.STAGE0_ACTIVATION"] = False
    if is_lite:
        settings["MODEL.PIXEL_MEAN"] = [127.5, 127.5, 127.5]
        settings["MODEL.PIXEL_STD"] = [127.5, 127.5, 127.5]
    return settings
