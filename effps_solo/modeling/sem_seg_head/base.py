"""The contract of a semantic head."""

from abc import ABC, abstractmethod
from typing import Dict

import torch
from torch import nn


class SemanticHead(nn.Module, ABC):
    """Base of the semantic heads: neck features -> class logits at stride 4.

    Attributes:
        num_classes: C, things and stuff.
    """

    num_classes: int

    @abstractmethod
    def forward(self, features: Dict[str, torch.Tensor]) -> torch.Tensor:
        """Neck features of N images -> logits (N, C, Hp/4, Wp/4) of the padded input (Hp, Wp)."""

    @abstractmethod
    def losses(self, logits: torch.Tensor, target: torch.Tensor) -> Dict[str, torch.Tensor]:
        """
        Args:
            logits: (N, C, Hp/4, Wp/4) of :meth:`forward`.
            target: (N, Hp, Wp) int64 contiguous ids or the label space's ``ignore_label``.

        Returns:
            named scalar losses, finite and with a gradient for every parameter even if all is ignored.
        """
