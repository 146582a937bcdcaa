"""Building blocks that the backbone and the heads share: norms and activations by name, SepConv.

Shapes: N images, C channels, H x W of the level.
"""

import functools
from typing import Any, Callable, Dict, Tuple, Union

import torch
import torch.nn.functional as F
from detectron2.layers import DepthwiseSeparableConv2d, get_norm
from detectron2.layers.batch_norm import NaiveSyncBatchNorm
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.fusion import fuse_conv_bn_weights

from effps_solo.utils.errors import ConfigError

from .cpu_gradients import depthwise_conv2d, group_norm, is_recorded

LEAKY_SLOPE = 0.01  # EfficientPS section 3.1
GN_GROUPS = 32  # Detectron2's


class ReLU6(nn.ReLU6):
    """torch's, in place without the copy of its input that torch then keeps for the gradient.

    It can be differentiated once.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.inplace and x.requires_grad) or is_recorded():
            return super().forward(x)
        result: torch.Tensor = _ReLU6.apply(x)
        return result


class _ReLU6(torch.autograd.Function):
    """In place: which values have a gradient, those strictly between 0 and 6, the result tells too."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(x.clamp_(0, 6))
        ctx.save_for_backward(x)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        (result,) = ctx.saved_tensors
        x_grad: torch.Tensor = torch.ops.aten.hardtanh_backward(grad, result, 0, 6)
        return x_grad


class SiLU(nn.SiLU):
    """torch's swish, in place only where no gradient needs its input: torch would copy that first."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.silu(x, inplace=self.inplace and not x.requires_grad)


_ACTIVATIONS: Dict[str, Callable[[], nn.Module]] = {
    "leaky_relu": functools.partial(nn.LeakyReLU, LEAKY_SLOPE, inplace=True),
    "relu": functools.partial(nn.ReLU, inplace=True),
    "relu6": functools.partial(ReLU6, inplace=True),
    "swish": functools.partial(SiLU, inplace=True),
}
_NORMS = (
    "BN",
    "SyncBN",
    "GN",
    "FrozenBN",
    "naiveSyncBN",
    "nnSyncBN",
    "LN",
    "",
)


def get_activation(name: str) -> Callable[[], nn.Module]:
    """Factory of the activation ``name``: leaky_relu (slope 0.01), relu, relu6 or swish.

    Raises:
        ConfigError: unknown name.
    """
    if name not in _ACTIVATIONS:
        raise ConfigError(f"unknown activation '{name}'; choose one of {sorted(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]


def resolve_norm(norm: str) -> str:
    """``norm``; for SyncBN the implementation that runs here.

    That is torch's (nnSyncBN) where there is a GPU, and else :class:`SyncBatchNorm` (naiveSyncBN),
    because torch's refuses CPU tensors of several processes.

    Raises:
        ConfigError: unknown name.
    """
    if norm not in _NORMS:
        raise ConfigError(f"unknown norm '{norm}'; choose one of {[n for n in _NORMS if n]}")
    if norm == "SyncBN":
        return "nnSyncBN" if torch.cuda.is_available() else "naiveSyncBN"
    return norm


class SyncBatchNorm(NaiveSyncBatchNorm):
    """Detectron2's synchronised BN, which runs on a CPU, with statistics of bf16 values in fp32.

    The variance is a difference of two means, for which bf16 has too few digits. Every image (or RoI)
    counts alike, Detectron2's ``stats_mode`` "N": numbers of RoIs differ between processes, and one may
    have none. Where they are equal, so is the other mode, which counts every process alike.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(channels, eps=eps, stats_mode="N")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype != torch.bfloat16:
            return super().forward(x)
        return super().forward(x.float()).to(x.dtype)


class GroupNorm(nn.GroupNorm):
    """torch's group norm, which also takes one value per group: the result is the bias."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return group_norm(x, self.num_groups, self.weight, self.bias, self.eps)


def make_norm(norm: str, channels: int) -> nn.Module:
    """The norm layer ``norm`` over ``channels``, eps 1e-5.

    Raises:
        ConfigError: unknown name, or GN over channels that its 32 groups do not divide.
    """
    norm = resolve_norm(norm)
    if norm == "naiveSyncBN":
        return SyncBatchNorm(channels)
    if norm == "GN":
        if channels % GN_GROUPS:
            raise ConfigError(
                f"norm GN has {GN_GROUPS} groups, which do not divide {channels} channels"
            )
        return GroupNorm(GN_GROUPS, channels)
    return get_norm(norm, channels)


def fold_norm(conv: nn.Conv2d, norm: nn.Module) -> bool:
    """Let ``conv`` do the work of the ``norm`` behind it as well, in place; for inference.

    Returns:
        whether it does: norms that compute statistics of the image (GN, LN) cannot be folded.
    """
    if getattr(norm, "running_mean", None) is None:
        return False
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        norm.running_mean,
        norm.running_var,
        norm.eps,
        norm.weight,
        norm.bias,
    )
    return True


class SeparableConv2d(DepthwiseSeparableConv2d):
    """Detectron2's, with gradients in bf16 that are right on a CPU, see :func:`depthwise_conv2d`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        conv = self.depthwise
        if conv.bias is not None or conv.norm is None:  # norms are folded, or there is none
            return super().forward(x)
        return self.pointwise(conv.activation(conv.norm(self.convolve_depthwise(x))))

    def convolve_depthwise(self, x: torch.Tensor) -> torch.Tensor:
        """The depthwise convolution alone, what enters its norm."""
        conv = self.depthwise
        return depthwise_conv2d(x, conv.weight, conv.stride, conv.padding, conv.dilation)


def separable_conv(
    in_channels: int,
    out_channels: int,
    *,
    norm: str,
    activation: str,
    dilation: Union[int, Tuple[int, int]] = 1,
) -> DepthwiseSeparableConv2d:
    """SepConv of EfficientPS: depthwise 3x3, norm, activation, pointwise 1x1, norm, activation.

    Both convolutions are without bias; the padding keeps (H, W).
    """
    return SeparableConv2d(
        in_channels,
        out_channels,
        kernel_size=3,
        padding=dilation,
        dilation=dilation,
        norm1=functools.partial(make_norm, norm),
        activation1=get_activation(activation)(),
        norm2=functools.partial(make_norm, norm),
        activation2=get_activation(activation)(),
    )
