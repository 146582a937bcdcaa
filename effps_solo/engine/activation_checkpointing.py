"""Activation checkpointing: the backward pass recomputes activations, for less memory and more time."""

import contextlib
import functools
from typing import Any, ContextManager, Iterator, List, Tuple

import torch
from detectron2.layers import CNNBlockBase, Conv2d, DepthwiseSeparableConv2d
from torch import nn
from torch.utils.checkpoint import checkpoint

from effps_solo.modeling.backbone import EfficientNet
from effps_solo.modeling.instance_head.solov2.branches import (
    EfficientGridBranches,
    EfficientMaskBranch,
    FullGridBranches,
    FullMaskBranch,
)
from effps_solo.modeling.sem_seg_head.blocks import (
    DensePredictionCell,
    LargeScaleFeatureExtractor,
    MismatchCorrection,
)

# Modules that map tensors to tensors and log nothing, so that they can run twice.
_SEGMENT_TYPES = (
    CNNBlockBase,
    DensePredictionCell,
    LargeScaleFeatureExtractor,
    MismatchCorrection,
    EfficientGridBranches,
    FullGridBranches,
    EfficientMaskBranch,
    FullMaskBranch,
    DepthwiseSeparableConv2d,
)


def checkpoint_activations(model: nn.Module) -> None:
    """Make the blocks of backbone, neck and heads keep their inputs only, in place.

    In training each block runs a second time when its gradients are due. Losses and gradients are
    the same to the bit, and the statistics of norms see every batch once.
    """
    for segment in segments(model):
        # Bound to the module by an argument, not by a closure, so that copies of it work.
        segment.forward = functools.partial(_checkpointed_forward, segment)


def segments(module: nn.Module) -> List[nn.Module]:
    """The topmost modules below ``module`` that are worth running twice; none within another."""
    if isinstance(module, EfficientNet):
        return [block for stage in module.blocks for block in stage]
    # A convolution alone keeps nothing but its input anyway.
    if isinstance(module, Conv2d):
        return [module] if module.norm is not None else []
    if isinstance(module, _SEGMENT_TYPES):
        return [module]
    return [segment for child in module.children() for segment in segments(child)]


def _checkpointed_forward(module: nn.Module, *args: Any) -> Any:
    forward = functools.partial(type(module).forward, module)
    if not (module.training and torch.is_grad_enabled()):
        return forward(*args)

    def contexts() -> Tuple[ContextManager[Any], ContextManager[Any]]:
        """Of the forward pass and of the recomputation in the backward pass."""
        return contextlib.nullcontext(), _untouched_buffers(module)

    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts)


@contextlib.contextmanager
def _untouched_buffers(module: nn.Module) -> Iterator[None]:
    """Restore the buffers of ``module`` at the end, so that norms count a batch once."""
    owners = [m for m in module.modules() if m._buffers]
    originals = [dict(m._buffers) for m in owners]
    for owner, buffers in zip(owners, originals):
        owner._buffers.update({k: b if b is None else b.clone() for k, b in buffers.items()})
    try:
        yield
    finally:
        for owner, buffers in zip(owners, originals):
            owner._buffers.update(buffers)
