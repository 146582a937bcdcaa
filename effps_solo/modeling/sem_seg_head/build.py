"""Building of semantic heads, this project's and Detectron2's."""

from typing import Any, Dict, Optional

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY

from effps_solo.modeling.checks import registered
from effps_solo.modeling.upsampling import STRIDE
from effps_solo.utils.errors import ConfigError

from .base import SemanticHead


class Detectron2SemanticHead(SemanticHead):
    """A head with the interface of Detectron2's ``SemSegFPNHead`` behind our contract."""

    def __init__(self, head: Any) -> None:
        """
        Args:
            head: has ``layers(features)``, ``losses(logits, target)``, a ``predictor`` and ``common_stride``.
        """
        super().__init__()
        self.head = head
        self.num_classes = head.predictor.out_channels

    def forward(self, features: Dict[str, torch.Tensor]) -> torch.Tensor:
        logits: torch.Tensor = self.head.layers(features)
        return logits

    def losses(self, logits: torch.Tensor, target: torch.Tensor) -> Dict[str, torch.Tensor]:
        """Detectron2's; 0 where all pixels are void."""
        losses: Dict[str, torch.Tensor] = self.head.losses(logits, target)
        if bool((target == self.head.ignore_value).all()):
            # The mean over no pixel is NaN; its gradients are 0 already.
            return {name: loss.nan_to_num() for name, loss in losses.items()}
        return losses


def build_semantic_head(cfg: CfgNode, input_shape: Dict[str, ShapeSpec]) -> Optional[SemanticHead]:
    """Build ``MODEL.SEM_SEG_HEAD.NAME`` of Detectron2's registry; None for "".

    Raises:
        ConfigError: no head has that name, or it has neither our contract nor SemSegFPNHead's.
    """
    name = cfg.MODEL.SEM_SEG_HEAD.NAME
    if not name:
        return None
    head = registered(SEM_SEG_HEADS_REGISTRY, "MODEL.SEM_SEG_HEAD.NAME", name)(cfg, input_shape)
    if isinstance(head, SemanticHead):
        return head
    if not all(hasattr(head, part) for part in ("layers", "losses", "predictor", "common_stride")):
        raise ConfigError(
            f"MODEL.SEM_SEG_HEAD.NAME is '{name}', which is neither a subclass of "
            "effps_solo.modeling.sem_seg_head.SemanticHead nor like Detectron2's SemSegFPNHead"
        )
    if head.common_stride != STRIDE:
        raise ConfigError(
            f"MODEL.SEM_SEG_HEAD.COMMON_STRIDE is {head.common_stride}; EfficientPS needs {STRIDE}"
        )
    return Detectron2SemanticHead(head)
