"""Semantic heads by name: this project's, Detectron2's and those that are neither."""

from typing import Any, Dict, Iterator

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import nn

from effps_solo import add_effps_solo_config
from effps_solo.modeling.sem_seg_head import SemanticHead, build_semantic_head
from effps_solo.modeling.sem_seg_head.build import Detectron2SemanticHead
from effps_solo.utils.errors import ConfigError

SHAPES = {f"p{i}": ShapeSpec(channels=8, stride=2**i) for i in (2, 3, 4, 5)}


class Pointwise(SemanticHead):
    """The smallest head that there is."""

    def __init__(self, cfg: CfgNode, input_shape: Dict[str, ShapeSpec]) -> None:
        super().__init__()
        self.num_classes = cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
        self.predictor = nn.Conv2d(input_shape["p2"].channels, self.num_classes, 1)

    def forward(self, features: Dict[str, torch.Tensor]) -> torch.Tensor:
        logits: torch.Tensor = self.predictor(features["p2"])
        return logits

    def losses(self, logits: torch.Tensor, target: torch.Tensor) -> Dict[str, torch.Tensor]:
        return {"loss_sem_seg": logits.square().mean()}


class Nothing(nn.Module):
    def __init__(self, cfg: CfgNode, input_shape: Dict[str, ShapeSpec]) -> None:
        super().__init__()


@pytest.fixture(autouse=True)
def heads_of_ones_own() -> Iterator[None]:
    for head in (Pointwise, Nothing):
        SEM_SEG_HEADS_REGISTRY._do_register(head.__name__, head)
    yield
    for head in (Pointwise, Nothing):
        del SEM_SEG_HEADS_REGISTRY._obj_map[head.__name__]


def _cfg(name: str, **keys: Any) -> CfgNode:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    node = cfg.MODEL.SEM_SEG_HEAD
    node.NAME, node.NUM_CLASSES, node.CONVS_DIM, node.NORM = name, 5, 8, "BN"
    for key, value in keys.items():
        node[key] = value
    return cfg


def _features() -> Dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {f"p{i}": torch.randn(2, 8, 64 >> i, 96 >> i) for i in (2, 3, 4, 5)}


def test_a_head_by_the_contract_is_taken_as_it_is() -> None:
    head = build_semantic_head(_cfg("Pointwise"), SHAPES)
    assert type(head) is Pointwise and head.num_classes == 5


def test_is_abstract() -> None:
    with pytest.raises(TypeError):
        SemanticHead()  # type: ignore[abstract]


def test_detectron2s_head_behind_the_contract() -> None:
    """Logits at stride 4, its own loss, and a gradient for everything."""
    head = build_semantic_head(_cfg("SemSegFPNHead", LOSS_WEIGHT=0.5), SHAPES)
    assert isinstance(head, Detectron2SemanticHead) and head.num_classes == 5
    logits, target = head(_features()), torch.randint(0, 5, (2, 64, 96))
    target[:, :20] = 255
    assert logits.shape == (2, 5, 16, 24)
    losses = head.losses(logits, target)
    full = F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
    expected = 0.5 * F.cross_entropy(full, target, ignore_index=255)
    torch.testing.assert_close(losses, {"loss_sem_seg": expected})
    losses["loss_sem_seg"].backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def test_detectron2s_head_where_all_is_void() -> None:
    head = build_semantic_head(_cfg("SemSegFPNHead"), SHAPES)
    losses = head.losses(head(_features()), torch.full((2, 64, 96), 255))
    assert {name: loss.item() for name, loss in losses.items()} == {"loss_sem_seg": 0.0}
    losses["loss_sem_seg"].backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and not parameter.grad.any(), name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    "cfg, message",
    [
        (_cfg("Lovasz"), "MODEL.SEM_SEG_HEAD.NAME is 'Lovasz'.*'EfficientPSSemanticHead'"),
        (_cfg("Nothing"), "MODEL.SEM_SEG_HEAD.NAME is 'Nothing'.*subclass of .*SemanticHead"),
        (_cfg("SemSegFPNHead", COMMON_STRIDE=8), "COMMON_STRIDE is 8; EfficientPS needs 4"),
    ],
    ids=["unknown", "no head", "stride"],
)
def test_mistakes_name_the_key(cfg: CfgNode, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_semantic_head(cfg, SHAPES)
