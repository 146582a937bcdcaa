"""Operations that torch, or their gradients, computes many times slower than it could on a CPU.

The results are torch's own but for rounding. They are made of parts that are fast there: measured on
the shapes of EfficientNet in the channels_last format, the weight gradient of a depthwise 5x5
convolution costs torch 100 times its forward pass in bf16, the gradient of group norm 20 to 50 times.

Shapes: N images, C channels, H x W the input and H' x W' the output, kernels of k x k, G groups.
"""

from typing import Any, Callable, NamedTuple, Optional, Tuple

import torch
import torch.nn.functional as F
from packaging.version import Version
from torch.autograd.function import once_differentiable

_FAST_KERNEL = 3  # the depthwise kernel whose gradient is fast
_FEW_PIXELS = 1200  # below, group norm costs less in fp32 than as many calls of batch norm

# The detours, with the first and the last version of torch for which each was measured to pay.
_MEASURED = {
    "_turned_input_gradient": ((2, 13), (2, 14)),
    "_strided_input_gradient": ((2, 13), (2, 14)),
    "_weight_gradient_in_blocks": ((2, 13), (2, 14)),
    "_GroupNorm": ((2, 13), (2, 14)),
}
_TORCH = Version(torch.__version__).release[:2]

Gradient = Optional[torch.Tensor]
Pair = Tuple[int, int]  # vertical and horizontal


def depthwise_conv2d(
    x: torch.Tensor, weight: torch.Tensor, stride: Pair, padding: Pair, dilation: Pair = (1, 1)
) -> torch.Tensor:
    """Depthwise convolution without bias, equal to ``F.conv2d`` with C groups.

    It can be differentiated once.

    Args:
        x: (N, C, H, W).
        weight: (C, 1, k, k).
        stride: of the kernel.
        padding: zeros above and below, left and right.
        dilation: of the kernel.

    Returns:
        (N, C, H', W').
    """
    if not _wants_gradient_on_cpu(x, weight):
        return _Convolution(x, weight, stride, padding, dilation).forward()
    if torch.is_autocast_enabled("cpu") and x.dtype != torch.float64:
        dtype = torch.get_autocast_dtype("cpu")
        x, weight = x.to(dtype), weight.to(dtype)
    result: torch.Tensor = _DepthwiseConv2d.apply(x, weight, stride, padding, dilation)
    return result


def group_norm(
    x: torch.Tensor, num_groups: int, weight: torch.Tensor, bias: torch.Tensor, eps: float
) -> torch.Tensor:
    """Group norm, equal to ``F.group_norm``, which refuses groups of one value; here those give bias.

    In bf16 it can be differentiated once.

    Args:
        x: (N, C, H, W), or with another number of axes behind C.
        num_groups: G, which divides C.
        weight: (C,).
        bias: (C,).
        eps: added to the variance.

    Returns:
        as x.
    """
    # In fp32 torch's is fast forwards, and backwards four times slower than it could be.
    is_mixed = x.dtype == torch.bfloat16 and weight.dtype == torch.float32
    is_slow = is_mixed and x.device.type == "cpu" and not is_recorded() and _pays(_GroupNorm)
    if not is_slow or not x.numel():
        return torch.group_norm(x, num_groups, weight, bias, eps)
    if x[0, 0].numel() < _FEW_PIXELS:
        return torch.group_norm(x.float(), num_groups, weight, bias, eps).to(x.dtype)
    result: torch.Tensor = _GroupNorm.apply(x, num_groups, weight, bias, eps)
    return result


def _wants_gradient_on_cpu(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether somebody is going to ask for a gradient."""
    if is_recorded() or not torch.is_grad_enabled():
        return False
    return x.device.type == "cpu" and (x.requires_grad or weight.requires_grad)


def _pays(detour: Callable[..., Any]) -> bool:
    """Whether it was measured to pay with this torch, whose own way is taken otherwise."""
    first, last = _MEASURED[detour.__name__]
    return first <= _TORCH <= last


def is_recorded() -> bool:
    """Whether a graph is made to be exported or compiled; it is to hold torch's operations."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


class _Convolution(NamedTuple):
    """A depthwise convolution: x (N, C, H, W), weight (C, 1, k, k), and how it is laid."""

    x: torch.Tensor
    weight: torch.Tensor
    stride: Pair
    padding: Pair
    dilation: Pair

    def forward(self) -> torch.Tensor:
        """(N, C, H', W')."""
        x, weight, stride, padding, dilation = self
        return F.conv2d(x, weight, None, stride, padding, dilation, groups=x.shape[1])

    def gradient(self, grad: torch.Tensor, operand: int) -> torch.Tensor:
        """torch's own gradient of x (operand 0) or of the weight (operand 1)."""
        wanted = [operand == 0, operand == 1, False]
        x, weight, stride, padding, dilation = self
        gradients: Tuple[torch.Tensor, ...] = torch.ops.aten.convolution_backward(
            grad, x, weight, None, stride, padding, dilation, False, (0, 0), x.shape[1], wanted
        )
        return gradients[operand]


class _DepthwiseConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *conv: Any) -> torch.Tensor:
        """Of the fields of a :class:`_Convolution`."""
        ctx.save_for_backward(*conv[:2])
        ctx.layout = conv[2:]
        return _Convolution(*conv).forward()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> Tuple[Gradient, Gradient, None, None, None]:
        x, weight = ctx.saved_tensors
        conv = _Convolution(x, weight, *ctx.layout)
        input_wanted, weight_wanted = ctx.needs_input_grad[:2]
        input_grad = _input_gradient(conv, grad) if input_wanted else None
        weight_grad = _weight_gradient(conv, grad) if weight_wanted else None
        return input_grad, weight_grad, None, None, None


def _input_gradient(conv: _Convolution, grad: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W): of the output's gradient the convolution with the turned kernel, made as such.

    torch's takes up to four times as long, with dilation, or with strides in bf16, seven to ten times.
    Where a processor has no units for bf16 it also sums in bf16: 5x5 kernels are off by 1 %.
    """
    is_strided, is_dilated = max(conv.stride) > 1, max(conv.dilation) > 1
    is_fast = is_strided and (is_dilated or conv.x.dtype != torch.bfloat16)
    detour = _strided_input_gradient if is_strided else _turned_input_gradient
    return conv.gradient(grad, 0) if is_fast or not _pays(detour) else detour(conv, grad)


def _turned_input_gradient(conv: _Convolution, grad: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W)."""
    x, weight, stride, padding, dilation = conv
    reach = [d * (k - 1) for k, d in zip(weight.shape[2:], dilation)]
    around = [r - p for r, p in zip(reach, padding)]
    if min(around) < 0:  # some of its values met no input
        return conv.gradient(grad, 0)
    return F.conv2d(grad, weight.flip(2, 3), None, stride, around, dilation, groups=x.shape[1])


def _strided_input_gradient(conv: _Convolution, grad: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W); the output's gradient gets zeros between its values and around it."""
    x, weight, stride, (p_y, p_x), _ = conv
    n, c, height, width = x.shape
    k_y, k_x = weight.shape[2:]
    size = (n, c, height + 2 * p_y + k_y - 1, width + 2 * p_x + k_x - 1)
    spread = torch.empty(
        size, dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last
    ).zero_()
    rows, columns = (
        slice(k - 1, k + (outputs - 1) * step, step)
        for k, outputs, step in zip((k_y, k_x), grad.shape[2:], stride)
    )
    spread[..., rows, columns] = grad
    inner = spread[..., p_y : size[2] - p_y, p_x : size[3] - p_x]
    return F.conv2d(inner, weight.flip(2, 3), groups=c)


def _weight_gradient(conv: _Convolution, grad: torch.Tensor) -> torch.Tensor:
    """(C, 1, k, k)."""
    if max(conv.dilation) == 1:
        return _weight_gradient_in_blocks(conv, grad)
    # torch's of a dilated kernel in bf16 is wrong at times with several threads, up to NaN: it differs
    # from call to call (2.14, where the dilation reaches beyond the image). In fp32 it is faster too,
    # and still torch's own: so with any version.
    precise = torch.promote_types(grad.dtype, torch.float32)
    conv = conv._replace(x=conv.x.to(precise), weight=conv.weight.to(precise))
    return conv.gradient(grad.to(precise), 1).to(grad.dtype)


def _weight_gradient_in_blocks(conv: _Convolution, grad: torch.Tensor) -> torch.Tensor:
    """(C, 1, k, k), in blocks of 3x3.

    The kernel's element (i, j) meets the input shifted by (i, j), so each block of the gradient is
    that of a 3x3 kernel on a shifted input. Where 3 does not divide k, blocks overlap.
    """
    x, weight, stride, (p_y, p_x), dilation = conv
    sides = weight.shape[2:]
    is_slow = min(sides) >= _FAST_KERNEL and max(sides) > _FAST_KERNEL
    if not is_slow or not _pays(_weight_gradient_in_blocks):
        return conv.gradient(grad, 1)
    padded = F.pad(x, (p_x, p_x, p_y, p_y))
    height, width = ((n - 1) * s + _FAST_KERNEL for n, s in zip(grad.shape[2:], stride))
    result = torch.empty_like(weight)
    for i in _block_starts(sides[0]):
        for j in _block_starts(sides[1]):
            block = (..., slice(i, i + _FAST_KERNEL), slice(j, j + _FAST_KERNEL))
            shifted = padded[..., i : i + height, j : j + width]
            part = _Convolution(shifted, weight[block].contiguous(), stride, (0, 0), dilation)
            result[block] = part.gradient(grad, 1)
    return result


def _block_starts(size: int) -> Tuple[int, ...]:
    """Where blocks of 3 begin that cover ``size`` elements: (0, 2) of 5."""
    return tuple(min(start, size - _FAST_KERNEL) for start in range(0, size, _FAST_KERNEL))


class _GroupNorm(torch.autograd.Function):
    """Batch norm of one image after the other, with the statistics of the groups; N > 0.

    Batch norm is fast in bf16 and sums in fp32. torch's group norm takes the variance as a difference
    of sums: where the mean is 100 deviations, it is off by 5 %.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        num_groups: int,
        weight: torch.Tensor,
        bias: torch.Tensor,
        eps: float,
    ) -> torch.Tensor:
        mean, var = _group_statistics(x, num_groups)
        ctx.save_for_backward(x, mean, var, weight)
        ctx.num_groups, ctx.eps = num_groups, eps
        return _batch_norm(x, mean, var, weight.expand_as(mean), bias.expand_as(mean), eps=eps)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, grad: torch.Tensor
    ) -> Tuple[torch.Tensor, None, torch.Tensor, torch.Tensor, None]:
        """Of y = weight * normal + bias with normal = (x - mean) / deviation of each group.

        The gradient of normal, which is weight * grad, loses its mean and its component along normal,
        and is divided by the deviation. Batch norm gives the sums that this needs, and does it: what
        is left of grad is linear in grad, and what goes along normal is linear in normal.
        """
        x, mean, var, weight = ctx.saved_tensors
        grad = torch.empty_like(x).copy_(grad) if grad.stride() != x.stride() else grad
        sums = [
            torch.ops.aten.native_batch_norm_backward(
                g, image, weight, m, v, None, None, False, ctx.eps, [False, True, True]
            )
            for g, image, m, v in zip(grad.split(1), x.split(1), mean, var)
        ]
        weight_grad, bias_grad = (torch.stack(each) for each in list(zip(*sums))[1:])
        inverse, num_pixels = (var + ctx.eps).rsqrt(), x[0, 0].numel()
        offset = _group_mean(weight * bias_grad, ctx.num_groups) / num_pixels
        slope = _group_mean(weight * weight_grad, ctx.num_groups) / num_pixels
        zero, one = torch.zeros_like(mean), torch.ones_like(mean)
        input_grad = _batch_norm(grad, zero, one, inverse * weight, -inverse * offset, eps=0.0)
        input_grad += _batch_norm(x, mean, var, -inverse * slope, zero, eps=ctx.eps)
        return input_grad, None, weight_grad.sum(0), bias_grad.sum(0), None


def _batch_norm(x: torch.Tensor, *constants: torch.Tensor, eps: float) -> torch.Tensor:
    """As x, each image with its own rows of the constants mean, var, weight and bias, all (N, C)."""
    images = zip(x.split(1), *constants)
    return torch.cat([F.batch_norm(image, m, v, w, b, eps=eps) for image, m, v, w, b in images])


def _group_statistics(x: torch.Tensor, num_groups: int) -> Tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance (N, C) of the group of each channel, in fp32 or x's wider format."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    unused = x.new_zeros(2, x.shape[1], dtype=dtype)  # running statistics, which set the format
    channels = [torch.batch_norm_update_stats(image, *unused, 0.0) for image in x.split(1)]
    channel_mean, channel_var = (torch.stack(values) for values in zip(*channels))
    mean = _group_mean(channel_mean, num_groups)
    return mean, _group_mean(channel_var + (channel_mean - mean).square(), num_groups)


def _group_mean(values: torch.Tensor, num_groups: int) -> torch.Tensor:
    """(N, C) -> (N, C): of the group of each channel."""
    means = values.view(len(values), num_groups, -1).mean(2)
    return means.repeat_interleave(values.shape[1] // num_groups, 1)  # batch norm wants no strides
