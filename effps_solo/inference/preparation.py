"""A trained model made ready to predict: norms folded, and what ``TEST`` says of speed and quality."""

from typing import Any, Callable

import torch
from detectron2.config import CfgNode
from detectron2.layers import Conv2d
from torch import nn

from effps_solo.modeling.layers import fold_norm
from effps_solo.modeling.meta_arch import EfficientPS
from effps_solo.modeling.outputs import PanopticNetwork
from effps_solo.modeling.precision import Precision
from effps_solo.utils.errors import ConfigError

from .test_time_augmentation import EfficientPSWithTTA

_NETWORKS = ("backbone", "sem_seg_head", "instance_head")


def build_inference_model(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """``model``, changed in place, or a module around it; no longer for training.

    Its predictions are those of ``model`` up to rounding, unless ``TEST.AUG`` or ``TEST.AMP`` is on.

    Args:
        cfg: with ``TEST.COMPILE``, ``TEST.AMP`` and ``TEST.AUG``.
        model: in eval mode, with its weights.

    Raises:
        ConfigError: the model cannot be augmented, or the device lacks the number format.
    """
    fold_norms(model)
    if cfg.TEST.COMPILE:
        compile_networks(model)
    if cfg.TEST.AUG.ENABLED:
        if not isinstance(model, EfficientPS):
            kind = type(model).__name__
            raise ConfigError(
                f"TEST.AUG.ENABLED needs MODEL.META_ARCHITECTURE EfficientPS, not {kind}"
            )
        model = EfficientPSWithTTA.from_config(cfg, model)
    precision = Precision.from_config(cfg, "TEST")
    if precision.dtype is not None:
        autocast = torch.autocast(precision.device_type, precision.dtype)
        model.forward = autocast(model.forward)
        if isinstance(model, PanopticNetwork):
            model.inference = autocast(model.inference)  # type: ignore[method-assign]
    return model


def fold_norms(model: nn.Module) -> None:
    """Merge norms with fixed statistics into the convolutions before them, in place.

    A tenth of the time of a lite0 network on a CPU, a quarter with B5.
    """
    for module in model.modules():
        if hasattr(module, "fold_norms"):
            module.fold_norms()
        elif isinstance(module, Conv2d) and fold_norm(module, module.norm):
            module.norm = None


def compile_networks(model: nn.Module) -> None:
    """Compile the networks, with weights as constants; what loops over instances stays as it is."""
    for name in _NETWORKS:
        network = getattr(model, name, None)
        if network is not None:
            network.compile()
            network._compiled_call_impl = _with_constant_weights(network._compiled_call_impl)


def _with_constant_weights(call: Callable[..., Any]) -> Callable[..., Any]:
    """``call`` of a compiled network, which may compile at any time: first, and for another size.

    The option ``freezing`` of ``torch.compile`` does not reach the tracing, which decides on it, too.
    """
    import torch._inductor.config

    def run(*args: Any, **kwargs: Any) -> Any:
        with torch._inductor.config.patch(freezing=True):
            return call(*args, **kwargs)

    return run
