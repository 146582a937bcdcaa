"""EfficientNet as a Detectron2 backbone, built by timm.

Equal to the backbone of EfficientPS (section 3.1 and its released layout) with the defaults of
``MODEL.EFFICIENTNET``: no squeeze-and-excitation, leaky ReLU 0.01 after every norm but the last of
an inverted residual (linear bottleneck), TF "SAME" padding, BN eps 1e-3, an activation after the
pointwise convolution of stage 0 too, and ``conv_head`` (1x1 + BN + activation) as the stride-32
output. Parameter names are timm's without ``se`` and ``classifier``.

Departs in the norm: a plain one scales by its weight, the released in-place ABN by |weight| + eps;
:mod:`effps_solo.checkpoint.convert` takes that into account.
"""

from typing import Dict, List, Sequence

import timm
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from timm.layers import Conv2dSame
from torch import nn

from effps_solo.modeling.cpu_gradients import depthwise_conv2d
from effps_solo.modeling.layers import fold_norm, get_activation
from effps_solo.utils.errors import ConfigError

from .norms import replace_norms

# Last stage (index into timm's ``blocks``) of each stride 4, 8, 16, 32.
STAGE_OF_FEATURE = {"res2": 1, "res3": 2, "res4": 4, "res5": 6}
STRIDE_OF_FEATURE = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
# What FREEZE_AT 1, 2, ... freezes, each with all before it, by how names of parameters begin: the stem,
# then the stages of res2 .. res5.
_FREEZABLE = (
    ("conv_stem.", "bn1."),
    ("blocks.0.", "blocks.1."),
    ("blocks.2.",),
    ("blocks.3.", "blocks.4."),
    ("blocks.5.", "blocks.6.", "conv_head.", "bn2."),
)


class SameConv2d(nn.Conv2d):
    """TensorFlow's "SAME" convolution, of stride 1 or of stride 2 over even sizes, as all here are.

    With stride 2 the odd one of its k - 2 padding pixels lies behind. timm's computes that from the
    size, again in every call, which no program that traces sizes as unknowns gets to the end of.
    """

    @classmethod
    def from_timm(cls, conv: nn.Conv2d) -> "SameConv2d":
        """The same convolution, with the same parameters."""
        with torch.device("meta"):  # initial values would take random numbers in vain
            same = cls(
                conv.in_channels,
                conv.out_channels,
                conv.kernel_size,
                stride=conv.stride,
                padding=0 if isinstance(conv, Conv2dSame) else conv.padding,
                groups=conv.groups,
                bias=conv.bias is not None,
            )
        same.weight, same.bias = conv.weight, conv.bias
        return same

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if max(self.stride) > 1:
            front = [(k - 2) // 2 for k in self.kernel_size]
            behind = [(k - 1) // 2 for k in self.kernel_size]
            x = F.pad(x, (front[1], behind[1], front[0], behind[0]))
        if self.groups == 1 or self.bias is not None:
            return super().forward(x)
        return depthwise_conv2d(x, self.weight, self.stride, self.padding)


def _replace_convs(module: nn.Module) -> None:
    """Replace every convolution below ``module`` that is strided or depthwise, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.Conv2d) and (child.groups > 1 or isinstance(child, Conv2dSame)):
            setattr(module, name, SameConv2d.from_timm(child))
        else:
            _replace_convs(child)


@BACKBONE_REGISTRY.register()
class EfficientNet(Backbone):
    """timm's ``tf_efficientnet_b0..b7`` and ``tf_efficientnet_lite0..lite4`` without classifier.

    Output: a dict of the requested res2, res3, res4, res5 with strides 4, 8, 16, 32; channels of
    B5 are 40, 64, 176 and 2048 (512 without ``conv_head``).
    """

    @configurable
    def __init__(
        self,
        *,
        name: str,
        out_features: Sequence[str] = ("res2", "res3", "res4", "res5"),
        squeeze_excite: bool = False,
        conv_head: bool = True,
        norm: str = "BN",
        activation: str = "leaky_relu",
        stage0_activation: bool = True,
        in_channels: int = 3,
        freeze_at: int = 0,
    ) -> None:
        """
        Args:
            name: timm's name of the network.
            out_features: which of res2 .. res5 to return.
            squeeze_excite: keep the squeeze-and-excitation blocks (lite networks have none).
            conv_head: res5 is the 1x1 ``conv_head``, not the last stage.
            norm: BN, SyncBN, GN or FrozenBN.
            activation: a name of :func:`effps_solo.modeling.layers.get_activation`.
            stage0_activation: an activation after the last norm of stage 0 as well.
            in_channels: channels of the image.
            freeze_at: what training leaves as it is, weights and statistics of batch norms, counted
                as Detectron2 counts for ResNets: 0 nothing, 1 the stem, 2 the stages of res2, too,
                ... 5 everything.

        Raises:
            ConfigError: an unknown network, feature, norm, activation or ``freeze_at``.
        """
        super().__init__()
        _check_names(name, out_features)
        if not 0 <= freeze_at <= len(_FREEZABLE):
            raise ConfigError(
                f"MODEL.EFFICIENTNET.FREEZE_AT is {freeze_at}; choose one of 0 .. {len(_FREEZABLE)}"
            )
        self.name = name
        network = timm.create_model(
            name,
            pretrained=False,
            in_chans=in_channels,
            num_classes=0,
            act_layer=get_activation(activation),
        )
        self.conv_stem, self.bn1, self.blocks = network.conv_stem, network.bn1, network.blocks
        for block in self._all_blocks():
            if not squeeze_excite:
                block.se = nn.Identity()
        if stage0_activation:
            for block in self.blocks[0]:
                block.bn2.act = get_activation(activation)()
        self._conv_head_wanted = conv_head and "res5" in out_features
        if self._conv_head_wanted:
            self.conv_head, self.bn2 = network.conv_head, network.bn2
        _replace_convs(self)
        frozen = tuple(beginning for part in _FREEZABLE[:freeze_at] for beginning in part)
        replace_norms(self, norm, frozen)
        for key, parameter in self.named_parameters():
            parameter.requires_grad_(not key.startswith(frozen))

        self._out_features = list(out_features)
        self._out_feature_strides = dict(STRIDE_OF_FEATURE)
        self._out_feature_channels = self._channels()

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> Dict[str, object]:
        node = cfg.MODEL.EFFICIENTNET
        return {
            "name": node.NAME,
            "out_features": node.OUT_FEATURES,
            "squeeze_excite": node.SQUEEZE_EXCITE,
            "conv_head": node.CONV_HEAD,
            "norm": node.NORM,
            "activation": node.ACTIVATION,
            "stage0_activation": node.STAGE0_ACTIVATION,
            "in_channels": input_shape.channels,
            "freeze_at": node.FREEZE_AT,
        }

    def _all_blocks(self) -> List[nn.Module]:
        return [block for stage in self.blocks for block in stage]

    def _channels(self) -> Dict[str, int]:
        """Channels of res2 .. res5, read from the last convolution of each stage."""
        channels = {}
        for feature, stage in STAGE_OF_FEATURE.items():
            channels[feature] = self.blocks[stage][-1].conv_pwl.out_channels
        if self._conv_head_wanted:
            channels["res5"] = self.conv_head.out_channels
        return channels

    def forward(self, image: torch.Tensor) -> Dict[str, torch.Tensor]:
        """
        Args:
            image: (N, 3, H, W), normalised; H and W multiples of 32.

        Returns:
            the requested features, (N, C_i, H/s_i, W/s_i).
        """
        x = self.bn1(self.conv_stem(image))
        features = {}
        stage_names = {stage: feature for feature, stage in STAGE_OF_FEATURE.items()}
        for index, stage in enumerate(self.blocks):
            x = stage(x)
            if index in stage_names:
                features[stage_names[index]] = x
        if self._conv_head_wanted:
            features["res5"] = self.bn2(self.conv_head(x))
        return {name: features[name] for name in self._out_features}

    def fold_norms(self) -> None:
        """Merge the norms into the convolutions before them, in place; for inference."""
        for module in (self, *self._all_blocks()):
            # timm registers the layers of a block in the order in which they run.
            layers = list(module.named_children())
            for (_, conv), (name, norm) in zip(layers, layers[1:]):
                if isinstance(conv, nn.Conv2d) and fold_norm(conv, norm):
                    setattr(module, name, norm.act)

    @property
    def size_divisibility(self) -> int:
        return 32


def _check_names(name: str, out_features: Sequence[str]) -> None:
    known = sorted(n for n in timm.list_models("tf_efficientnet_*") if n.split("_")[-1][0] in "bl")
    known = [n for n in known if n.count("_") == 2]
    if name not in known:
        raise ConfigError(f"MODEL.EFFICIENTNET.NAME is '{name}'; choose one of {known}")
    unknown = [f for f in out_features if f not in STAGE_OF_FEATURE]
    if unknown:
        raise ConfigError(
            f"MODEL.EFFICIENTNET.OUT_FEATURES names {unknown}; known: {list(STAGE_OF_FEATURE)}"
        )


def timm_pretrained_state_dict(name: str) -> Dict[str, torch.Tensor]:
    """timm's ImageNet weights of ``name``, downloaded once into its cache.

    Raises:
        FileNotFoundError: there are none, or the download failed.
    """
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # timm and its hub client raise many types when a download fails
        raise FileNotFoundError(
            f"the ImageNet weights of {name} could not be downloaded by timm ({error}); set "
            "MODEL.WEIGHTS to a file, to imagenet://tf_efficientnet_lite0 with the matching "
            "MODEL.EFFICIENTNET.NAME, or to '' for a random start"
        ) from error
