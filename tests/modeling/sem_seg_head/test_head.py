"""The semantic head: its layout, the order of its concatenation, its loss and its mistakes."""

import math
from functools import partial
from typing import Any, Dict

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from torch import nn

from effps_solo import add_effps_solo_config
from effps_solo.modeling.sem_seg_head import EfficientPSSemanticHead, build_semantic_head
from effps_solo.modeling.sem_seg_head.loss import hard_pixel_cross_entropy

NAMES = ["p2", "p3", "p4", "p5"]


def _shapes(channels: int) -> Dict[str, ShapeSpec]:
    return {n: ShapeSpec(channels=channels, stride=s) for n, s in zip(NAMES, (4, 8, 16, 32))}


def _features(height: int, width: int, channels: int) -> Dict[str, torch.Tensor]:
    return {
        n: torch.randn(2, channels, height // s, width // s) for n, s in zip(NAMES, (4, 8, 16, 32))
    }


def _head(**kwargs: Any) -> EfficientPSSemanticHead:
    arguments = {"input_shape": _shapes(8), "in_features": NAMES, "num_classes": 5, "convs_dim": 8}
    return EfficientPSSemanticHead(**{**arguments, **kwargs})


@pytest.fixture(scope="module")
def head() -> EfficientPSSemanticHead:
    torch.manual_seed(0)
    head = _head()
    for layer in head.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.3)
            layer.running_var.uniform_(0.5, 2)
    return head.eval()


def test_parameter_count_of_the_published_head() -> None:
    head = _head(input_shape=_shapes(256), num_classes=19, convs_dim=128)
    assert sum(p.numel() for p in head.parameters()) == 1_206_547
    assert head.predictor.weight.shape == (19, 512, 1, 1)
    assert head.predictor.bias.shape == (19,)


@pytest.mark.parametrize("size", [(64, 160), (96, 32), (32, 32)])
def test_forward_equals_a_plain_restatement(head: EfficientPSSemanticHead, size: tuple) -> None:
    torch.manual_seed(1)
    features = _features(*size, channels=8)

    def bilinear(x: torch.Tensor, factor: int) -> torch.Tensor:
        return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)

    with torch.no_grad():
        d32, d16 = head.dpc5(features["p5"]), head.dpc4(features["p4"])
        l8 = head.lsfe3(features["p3"]) + head.mc4(d16 + bilinear(d32, 2))
        l4 = head.lsfe2(features["p2"]) + head.mc3(l8)
        stack = torch.cat([l4, bilinear(l8, 2), bilinear(d16, 4), bilinear(d32, 8)], dim=1)
        weight, bias = head.predictor.weight[:, :, 0, 0], head.predictor.bias
        expected = torch.einsum("nchw,oc->nohw", stack, weight) + bias[:, None, None]
        actual = head(features)
    assert actual.shape == (2, 5, size[0] // 4, size[1] // 4)
    torch.testing.assert_close(actual, expected)


def test_the_four_levels_have_blocks_of_their_own(head: EfficientPSSemanticHead) -> None:
    """No module is shared by accident: as many tensors as the eight blocks have together."""
    parts = [head.dpc5, head.dpc4, head.lsfe3, head.lsfe2, head.mc4, head.mc3, head.predictor]
    assert len({p for part in parts for p in part.parameters()}) == len(list(head.parameters()))


def test_loss_worked_by_hand() -> None:
    loss = partial(hard_pixel_cross_entropy, ignore_value=7)
    head = _head(num_classes=2, loss_weight=3.0, semantic_loss=loss)
    logits = torch.zeros(1, 2, 2, 2)
    logits[:, 1] = 1.0  # constant: bilinear upsampling changes nothing
    target = torch.zeros(1, 8, 8, dtype=torch.int64)
    target[0, :4] = 7
    losses = head.losses(logits, target)
    assert list(losses) == ["loss_sem_seg"]
    # Half of the pixels count, all with log(1 + e); a quarter is kept.
    assert float(losses["loss_sem_seg"]) == pytest.approx(3 * math.log1p(math.e))


def test_loss_upsamples_to_the_target() -> None:
    torch.manual_seed(2)
    head = _head(semantic_loss=partial(hard_pixel_cross_entropy, top_fraction=1.0))
    logits, target = torch.randn(2, 5, 8, 16), torch.randint(0, 5, (2, 32, 64))
    full = F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
    loss = head.losses(logits, target)["loss_sem_seg"]
    torch.testing.assert_close(loss, F.cross_entropy(full, target))
    half = head.losses(logits.bfloat16(), target)["loss_sem_seg"]
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss, rtol=0.02, atol=0.02)


def test_a_loss_of_ones_own() -> None:
    """It sees logits in fp32 at the size of the target, and is weighted as the other."""
    seen = []

    def semantic_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        seen.append((logits.dtype, tuple(logits.shape), tuple(target.shape)))
        return logits.sum() * 0 + 4.0

    head = _head(semantic_loss=semantic_loss, loss_weight=0.5)
    losses = head.losses(torch.randn(2, 5, 8, 16).bfloat16(), torch.zeros(2, 32, 64).long())
    assert {name: float(loss) for name, loss in losses.items()} == {"loss_sem_seg": 2.0}
    assert seen == [(torch.float32, (2, 5, 32, 64), (2, 32, 64))]


@pytest.mark.parametrize("ignored", [False, True])
def test_gradients_reach_every_parameter(ignored: bool) -> None:
    torch.manual_seed(3)
    head = _head().train()
    target = torch.full((2, 64, 96), 255) if ignored else torch.randint(0, 5, (2, 64, 96))
    loss = head.losses(head(_features(64, 96, 8)), target)["loss_sem_seg"]
    loss.backward()
    assert loss.isfinite() and (float(loss) == 0.0) == ignored
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert bool(parameter.grad.any()) != ignored, name


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"in_features": ["p2", "p3", "p4"]}, "IN_FEATURES.*needs 4, 8, 16, 32"),
        ({"in_features": ["p5", "p4", "p3", "p2"]}, r"strides \[32, 16, 8, 4\]"),
        ({"num_classes": 0}, "MODEL.SEM_SEG_HEAD.NUM_CLASSES must be positive, got 0"),
        ({"norm": "batch"}, "'batch'"),
    ],
)
def test_mistakes_name_the_key(arguments: Dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _head(**arguments)


def test_from_config() -> None:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 7
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = 16
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 200
    cfg.MODEL.SEM_SEG_HEAD.TOP_FRACTION = 0.5
    head = build_semantic_head(cfg, _shapes(8))
    assert isinstance(head, EfficientPSSemanticHead) and head.num_classes == 7
    logits, target = torch.randn(2, 7, 8, 8), torch.randint(0, 7, (2, 8, 8))
    target[:, :3] = 200
    expected = hard_pixel_cross_entropy(logits, target, top_fraction=0.5, ignore_value=200)
    assert torch.equal(head.semantic_loss(logits, target), expected)
    assert head.predictor.weight.shape == (7, 64, 1, 1)
