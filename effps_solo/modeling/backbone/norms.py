"""The norms of timm's networks, which carry the activation behind them, by Detectron2's names.

Detectron2's and torch's own converters drop that activation without a word.
"""

from typing import Tuple

import torch
from timm.layers import BatchNormAct2d, SyncBatchNormAct, freeze_batch_norm_2d
from torch import nn

from effps_solo.modeling.layers import GroupNorm, SyncBatchNorm, resolve_norm
from effps_solo.utils.errors import ConfigError

GN_GROUP_SIZE = 8  # every channel count of every EfficientNet is a multiple of 8
_NORMS = ("BN", "SyncBN", "naiveSyncBN", "nnSyncBN", "GN", "FrozenBN")


class NaiveSyncBatchNormAct(SyncBatchNorm):
    """Detectron2's synchronised BN (which runs on a CPU) with timm's built-in activation."""

    def __init__(self, channels: int, eps: float, act: nn.Module) -> None:
        super().__init__(channels, eps=eps)
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(super().forward(x))


class GroupNormAct(GroupNorm):
    """Group norm with timm's built-in activation."""

    def __init__(self, channels: int, eps: float, act: nn.Module) -> None:
        super().__init__(channels // GN_GROUP_SIZE, channels, eps=eps)
        self.act = act

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(super().forward(x))


def replace_norms(network: nn.Module, norm: str, frozen: Tuple[str, ...] = ()) -> None:
    """Make every BatchNormAct2d of ``network`` a norm of the name ``norm``, in place.

    Args:
        norm: BN, SyncBN, naiveSyncBN, nnSyncBN, GN or FrozenBN.
        frozen: batch norms whose parameters' names begin so keep their statistics, in training, too.

    Raises:
        ConfigError: unknown name.
    """
    if norm not in _NORMS:
        raise ConfigError(f"MODEL.EFFICIENTNET.NORM is '{norm}'; choose one of {', '.join(_NORMS)}")
    norm = resolve_norm(norm)
    norm_if_frozen = norm if norm == "GN" else "FrozenBN"  # the former has no statistics to keep
    for name, layer in list(network.named_modules()):
        if isinstance(layer, BatchNormAct2d):
            is_frozen = f"{name}.".startswith(frozen)
            parent, _, attribute = name.rpartition(".")
            converted = _converted(layer, norm_if_frozen if is_frozen else norm)
            setattr(network.get_submodule(parent), attribute, converted)


def _converted(layer: BatchNormAct2d, norm: str) -> nn.Module:
    """``layer`` as the norm ``norm``, with the activation that timm builds into its norms."""
    channels, act = layer.num_features, layer.act
    if norm == "naiveSyncBN":
        return NaiveSyncBatchNormAct(channels, layer.eps, act)
    if norm == "GN":
        return GroupNormAct(channels, layer.eps, act)
    if norm == "nnSyncBN":
        converted = SyncBatchNormAct(channels, eps=layer.eps)
        converted.drop, converted.act = nn.Identity(), act
        return converted
    return freeze_batch_norm_2d(layer) if norm == "FrozenBN" else layer
