"""The semantic head of EfficientPS (section 3.3)."""

from functools import partial
from typing import Callable, Dict, List

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY

from effps_solo.utils.errors import ConfigError

from .base import SemanticHead
from .blocks import DensePredictionCell, LargeScaleFeatureExtractor, MismatchCorrection
from .loss import hard_pixel_cross_entropy

# (N, C, H, W) logits and (N, H, W) int64 target -> scalar.
SemanticLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@SEM_SEG_HEADS_REGISTRY.register()
class EfficientPSSemanticHead(SemanticHead):
    """p2 .. p5 -> class logits at stride 4.

    p5 and p4 go through DPC, p3 and p2 through LSFE; MC blocks carry the coarse levels down. One 1x1
    convolution classifies the four results, resized to stride 4 and concatenated in the order
    p2, p3, p4, p5. Differs from the released code in one thing: the x4 upsampling of the
    logits is left to the loss and to the fusion.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: Dict[str, ShapeSpec],
        in_features: List[str],
        num_classes: int,
        convs_dim: int = 128,
        norm: str = "BN",
        activation: str = "leaky_relu",
        semantic_loss: SemanticLoss = hard_pixel_cross_entropy,
        loss_weight: float = 1.0,
    ) -> None:
        """
        Args:
            input_shape: shapes of the neck's outputs.
            in_features: four of them with strides 4, 8, 16, 32.
            num_classes: C, things and stuff.
            convs_dim: channels of each of the four branches.
            norm, activation: names of :mod:`effps_solo.modeling.layers`.
            semantic_loss: (N, C, H, W) fp32 logits at the size of the image, (N, H, W) target -> scalar.
            loss_weight: factor on ``loss_sem_seg``.

        Raises:
            ConfigError: wrong strides or no class.
        """
        super().__init__()
        strides = [input_shape[f].stride for f in in_features]
        if strides != [4, 8, 16, 32]:
            raise ConfigError(
                f"MODEL.SEM_SEG_HEAD.IN_FEATURES {in_features} have strides {strides}; "
                "this head needs 4, 8, 16, 32"
            )
        if num_classes < 1:
            raise ConfigError(f"MODEL.SEM_SEG_HEAD.NUM_CLASSES must be positive, got {num_classes}")
        self.in_features = list(in_features)
        self.num_classes = num_classes
        self.semantic_loss, self.loss_weight = semantic_loss, loss_weight

        in2, in3, in4, in5 = (input_shape[f].channels for f in in_features)
        style = {"norm": norm, "activation": activation}
        self.dpc5 = DensePredictionCell(in5, convs_dim, **style)
        self.dpc4 = DensePredictionCell(in4, convs_dim, **style)
        self.lsfe3 = LargeScaleFeatureExtractor(in3, convs_dim, **style)
        self.lsfe2 = LargeScaleFeatureExtractor(in2, convs_dim, **style)
        self.mc4 = MismatchCorrection(convs_dim, **style)
        self.mc3 = MismatchCorrection(convs_dim, **style)
        self.predictor = Conv2d(4 * convs_dim, num_classes, kernel_size=1)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Dict[str, ShapeSpec]) -> Dict[str, object]:
        node = cfg.MODEL.SEM_SEG_HEAD
        return {
            "input_shape": input_shape,
            "in_features": node.IN_FEATURES,
            "num_classes": node.NUM_CLASSES,
            "convs_dim": node.CONVS_DIM,
            "norm": node.NORM,
            "activation": node.ACTIVATION,
            "semantic_loss": partial(
                hard_pixel_cross_entropy,
                top_fraction=node.TOP_FRACTION,
                ignore_value=node.IGNORE_VALUE,
                class_weights=node.CLASS_WEIGHTS,
            ),
            "loss_weight": node.LOSS_WEIGHT,
        }

    def forward(self, features: Dict[str, torch.Tensor]) -> torch.Tensor:
        """Neck features -> logits (N, C, Hp/4, Wp/4) of the padded input (Hp, Wp)."""
        p2, p3, p4, p5 = (features[f] for f in self.in_features)
        d5, d4 = self.dpc5(p5), self.dpc4(p4)
        # The sum feeds the correction only; d4 itself is what is concatenated.
        x3 = self.lsfe3(p3) + self.mc4(d4 + _resize(d5, d4))
        x2 = self.lsfe2(p2) + self.mc3(x3)
        return self._classify([x2, x3, d4, d5])

    def _classify(self, branches: List[torch.Tensor]) -> torch.Tensor:
        """The predictor over all branches, resized to the first and concatenated: logits of its size.

        A 1x1 convolution and bilinear interpolation commute. Each branch is classified at its own
        size, so that the few logits are resized, not the many channels.
        """
        first, *others = self.predictor.weight.split([x.shape[1] for x in branches], dim=1)
        logits = F.conv2d(branches[0], first, self.predictor.bias)
        for x, weight in zip(branches[1:], others):
            logits = logits + _resize(F.conv2d(x, weight), logits)
        return logits

    def losses(self, logits: torch.Tensor, target: torch.Tensor) -> Dict[str, torch.Tensor]:
        """{"loss_sem_seg"}; see :meth:`SemanticHead.losses`."""
        at_least_fp32 = torch.promote_types(logits.dtype, torch.float32)
        logits = F.interpolate(
            logits.to(at_least_fp32), size=target.shape[-2:], mode="bilinear", align_corners=False
        )
        return {"loss_sem_seg": self.loss_weight * self.semantic_loss(logits, target)}


def _resize(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
