"""Mixed precision (``SOLVER.AMP``, ``TEST.AMP``): autocast for the forward pass, a scaler for fp16."""

import logging
from typing import Any, ContextManager, Dict, Optional

import torch
from detectron2.config import CfgNode

from effps_solo.utils.errors import ConfigError
from effps_solo.utils.machine import BF16_FLAGS, cpu

logger = logging.getLogger(__name__)

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """The number format of the forward and backward pass, on a CPU as on a GPU.

    Weights, gradients, optimiser and losses stay in fp32. fp16 has few exponents: its losses are scaled
    before the backward pass, and steps with overflown gradients are left out.
    """

    def __init__(self, *, device_type: str, dtype: Optional[torch.dtype] = None) -> None:
        """
        Args:
            device_type: "cpu" or "cuda".
            dtype: of convolutions and matrix products; None: that of the weights.
        """
        self.device_type, self.dtype = device_type, dtype
        self.grad_scaler = torch.amp.GradScaler(device_type, enabled=dtype is torch.float16)

    @classmethod
    def from_config(cls, cfg: CfgNode, section: str = "SOLVER") -> "Precision":
        """What ``AMP`` says in ``section``, SOLVER or TEST, on ``MODEL.DEVICE``.

        Raises:
            ConfigError: an unknown format, or fp16 on a CPU.
        """
        amp, key = cfg[section].AMP, f"{section}.AMP.PRECISION"
        device_type = torch.device(cfg.MODEL.DEVICE).type
        if amp.PRECISION not in _DTYPES:
            raise ConfigError(f"{key} is '{amp.PRECISION}'; choose one of {list(_DTYPES)}")
        dtype = _DTYPES[amp.PRECISION] if amp.ENABLED else None
        if dtype is torch.float16 and device_type == "cpu":
            raise ConfigError(f"{key} is 'fp16', which needs a GPU; on a CPU choose bf16")
        if dtype is torch.bfloat16 and device_type == "cpu":
            _warn_of_emulation(section)
        return cls(device_type=device_type, dtype=dtype)

    def autocast(self) -> ContextManager[Any]:
        """The context of the forward pass and of the losses."""
        return torch.autocast(self.device_type, self.dtype, enabled=self.dtype is not None)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of ``loss``, scaled for fp16, to those that the parameters have."""
        self.grad_scaler.scale(loss).backward()

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """One step with unscaled gradients; none where fp16 gradients overflowed."""
        self.grad_scaler.step(optimizer)
        self.grad_scaler.update()

    def overflows_unscaled(self) -> bool:
        """Whether even gradients that nothing scales up are beyond fp16: NaN, or a training that diverges."""
        return self.grad_scaler.is_enabled() and self.grad_scaler.get_scale() < 1

    def state_dict(self) -> Dict[str, Any]:
        """The scaler's; empty where nothing is scaled."""
        return self.grad_scaler.state_dict()

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue with a scaler's state; without one, as from a run in another format, start anew."""
        if state and self.grad_scaler.is_enabled():
            self.grad_scaler.load_state_dict(state)


def _warn_of_emulation(section: str) -> None:
    """Say so where this processor is not known to have units for bf16."""
    if not cpu()["native_bf16"]:
        logger.warning(
            "No bf16 units (%s) found in this processor; emulated, bf16 is many times slower than fp32: "
            "set %s.AMP.ENABLED False",
            " or ".join(BF16_FLAGS),
            section,
        )
