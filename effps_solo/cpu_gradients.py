"""Operations whose gradients torch computes many times slower than it could on a CPU.

The values are torch's own. The gradients are made of parts that are fast there: measured on the
shapes of EfficientNet in the channels_last format, the weight gradient of a depthwise 5x5
convolution costs torch 100 times its forward pass in bf16, the gradient of group norm 40 times.

Shapes: N images, C channels, H x W the input and H' x W' the output, kernels of k x k, G groups.
"""

from typing import Any, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

_FAST_KERNEL = 3  # the depthwise kernel whose gradient is fast

Gradient = Optional[torch.Tensor]


def depthwise_conv2d(
    x: torch.Tensor, weight: torch.Tensor, stride: Tuple[int, int], padding: Tuple[int, int]
) -> torch.Tensor:
    """Depthwise convolution without bias, equal to ``F.conv2d(x, weight, groups=C)``.

    Args:
        x: (N, C, H, W).
        weight: (C, 1, k, k).
        stride: vertical and horizontal.
        padding: zeros above and below, left and right.

    Returns:
        (N, C, H', W').
    """
    if not _has_slow_gradient(x, weight):
        return _Convolution(x, weight, stride, padding).forward()
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight = x.to(dtype), weight.to(dtype)
    result: torch.Tensor = _DepthwiseConv2d.apply(x, weight, stride, padding)
    return result


def group_norm(
    x: torch.Tensor, num_groups: int, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> torch.Tensor:
    """Group norm, equal to ``F.group_norm``, which refuses groups of one value; here those give bias.

    Args:
        x: (N, C, H, W).
        num_groups: G, which divides C.
        weight: (C,).
        bias: (C,).
        eps: added to the variance.

    Returns:
        (N, C, H, W).
    """
    # In fp32 torch's gradient is four times slower than it could be, in bf16 forty times.
    if x.dtype != torch.bfloat16 or not _has_slow_gradient(x, weight):
        return torch.group_norm(x, num_groups, weight, bias, eps)
    result: torch.Tensor = _GroupNorm.apply(x, num_groups, weight, bias, eps)
    return result


def _has_slow_gradient(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether a gradient is wanted, on a CPU; graphs that are exported or compiled hold torch's."""
    if torch.jit.is_tracing() or torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return False
    return x.device.type == "cpu" and (x.requires_grad or weight.requires_grad)


class _Convolution(NamedTuple):
    """A depthwise convolution: x (N, C, H, W), weight (C, 1, k, k), stride and padding."""

    x: torch.Tensor
    weight: torch.Tensor
    stride: Tuple[int, int]
    padding: Tuple[int, int]

    def forward(self) -> torch.Tensor:
        """(N, C, H', W')."""
        groups = self.x.shape[1]
        return F.conv2d(self.x, self.weight, None, self.stride, self.padding, groups=groups)

    def gradient(self, grad: torch.Tensor, operand: int) -> torch.Tensor:
        """torch's own gradient of x (operand 0) or of the weight (operand 1)."""
        wanted = [operand == 0, operand == 1, False]
        x, weight, stride, padding = self
        gradients: Tuple[torch.Tensor, ...] = torch.ops.aten.convolution_backward(
            grad, x, weight, None, stride, padding, (1, 1), False, (0, 0), x.shape[1], wanted
        )
        return gradients[operand]


class _DepthwiseConv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        stride: Tuple[int, int],
        padding: Tuple[int, int],
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return _Convolution(x, weight, stride, padding).forward()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> Tuple[Gradient, Gradient, None, None]:
        x, weight = ctx.saved_tensors
        conv = _Convolution(x, weight, ctx.stride, ctx.padding)
        input_wanted, weight_wanted = ctx.needs_input_grad[:2]
        input_grad = _input_gradient(conv, grad) if input_wanted else None
        weight_grad = _weight_gradient(conv, grad) if weight_wanted else None
        return input_grad, weight_grad, None, None


def _input_gradient(conv: _Convolution, grad: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W)."""
    x, weight, stride, (p_y, p_x) = conv
    if x.dtype != torch.bfloat16 or max(stride) == 1:
        return conv.gradient(grad, 0)
    # With strides in bf16 torch's takes ten times as long as the convolution that it is: of the
    # output's gradient, with zeros between its values and around it, with the turned kernel.
    n, c, height, width = x.shape
    k_y, k_x = weight.shape[2:]
    size = (n, c, height + 2 * p_y + k_y - 1, width + 2 * p_x + k_x - 1)
    spread = torch.empty(size, dtype=grad.dtype, memory_format=torch.channels_last).zero_()
    rows, columns = (
        slice(k - 1, k + (outputs - 1) * step, step)
        for k, outputs, step in zip((k_y, k_x), grad.shape[2:], stride)
    )
    spread[..., rows, columns] = grad
    inner = spread[..., p_y : size[2] - p_y, p_x : size[3] - p_x]
    return F.conv2d(inner, weight.flip(2, 3), groups=c)


def _weight_gradient(conv: _Convolution, grad: torch.Tensor) -> torch.Tensor:
    """(C, 1, k, k), in blocks of 3x3.

    The kernel's element (i, j) meets the input shifted by (i, j), so each block of the gradient is
    that of a 3x3 kernel on a shifted input. Where 3 does not divide k, blocks overlap.
    """
    x, weight, stride, (p_y, p_x) = conv
    sides = weight.shape[2:]
    if min(sides) < _FAST_KERNEL or max(sides) == _FAST_KERNEL:
        return conv.gradient(grad, 1)
    padded = F.pad(x, (p_x, p_x, p_y, p_y))
    height, width = ((n - 1) * s + _FAST_KERNEL for n, s in zip(grad.shape[2:], stride))
    result = torch.empty_like(weight)
    for i in _block_starts(sides[0]):
        for j in _block_starts(sides[1]):
            block = (..., slice(i, i + _FAST_KERNEL), slice(j, j + _FAST_KERNEL))
            shifted = padded[..., i : i + height, j : j + width]
            part = _Convolution(shifted, weight[block].contiguous(), stride, (0, 0))
            result[block] = part.gradient(grad, 1)
    return result


def _block_starts(size: int) -> Tuple[int, ...]:
    """Where blocks of 3 begin that cover ``size`` elements: (0, 2) of 5."""
    return tuple(min(start, size - _FAST_KERNEL) for start in range(0, size, _FAST_KERNEL))


class _GroupNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        num_groups: int,
        weight: torch.Tensor,
        bias: torch.Tensor,
        eps: float,
    ) -> torch.Tensor:
        n, c, h, w = x.shape
        out, mean, inverse_deviation = torch.native_group_norm(
            x, weight, bias, n, c, h * w, num_groups, eps
        )
        ctx.save_for_backward(x, mean, inverse_deviation, weight)
        return out

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad: torch.Tensor
    ) -> Tuple[torch.Tensor, None, torch.Tensor, torch.Tensor, None]:
        """Of y = weight * normal + bias with normal = (x - mean) / deviation of each group.

        The gradient of x is that of normal less its mean and its component along normal, over the
        deviation. Sums over the pixels of each channel first, then one pass over the pixels.
        """
        x, mean, inverse, weight = ctx.saved_tensors
        n, c, h, w = x.shape
        groups = (n, mean.shape[1], c // mean.shape[1])
        precise = x.dtype if x.dtype == torch.float64 else torch.float32
        grad, mean, inverse = grad.to(precise), mean.to(precise), inverse.to(precise)

        def per_channel(values: torch.Tensor) -> torch.Tensor:
            """(N, G, 1) or (N, G, C / G) -> (N, C, 1, 1)."""
            return values.expand(groups).reshape(n, c, 1, 1)

        inverse, mean = inverse[..., None], mean[..., None]
        normal = (x.to(precise) - per_channel(mean)).mul_(per_channel(inverse))
        bias_sum, weight_sum = grad.sum((2, 3)), (grad * normal).sum((2, 3))
        gamma = weight.to(precise).view(1, *groups[1:])
        size = groups[2] * h * w
        offset = (gamma * bias_sum.view(groups)).sum(2, keepdim=True) / size
        slope = (gamma * weight_sum.view(groups)).sum(2, keepdim=True) / size
        # The deviation last: where it is next to nothing, differences must vanish before it divides.
        input_grad = torch.addcmul(per_channel(-offset), per_channel(gamma), grad)
        input_grad.addcmul_(per_channel(-slope), normal).mul_(per_channel(inverse))

        weight_grad, bias_grad = (each.sum(0).to(weight.dtype) for each in (weight_sum, bias_sum))
        return input_grad.to(x.dtype), None, weight_grad, bias_grad, None
