"""The separable mask head: layers, parameters, and batches without any RoI."""

from typing import Any

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import build_mask_head
from torch import nn

from effps_solo import add_effps_solo_config
from effps_solo.modeling.instance_head.mask_rcnn import SeparableMaskHead

SHAPE = ShapeSpec(channels=32, height=14, width=14)


def _head(**kwargs: Any) -> SeparableMaskHead:
    torch.manual_seed(0)
    arguments = {"num_classes": 5, "channels": 32, "num_convs": 2, **kwargs}
    return SeparableMaskHead(SHAPE, **arguments)


def test_logits_of_twice_the_resolution() -> None:
    logits = _head().layers(torch.randn(3, 32, 14, 14))
    assert logits.shape == (3, 5, 28, 28)


def test_equals_a_plain_statement_of_the_released_head() -> None:
    """Depthwise, norm, leaky ReLU, pointwise, norm, leaky ReLU; transposed convolution, ReLU; 1x1."""
    head = _head().eval()
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    features = torch.randn(2, 32, 14, 14)
    x = features
    for conv in head.convs:
        for layer, groups, padding in ((conv.depthwise, 32, 1), (conv.pointwise, 1, 0)):
            x = nn.functional.conv2d(x, layer.weight, padding=padding, groups=groups)
            norm = layer.norm
            scale = norm.weight / (norm.running_var + 1e-5).sqrt()
            shift = norm.bias - norm.running_mean * scale
            x = nn.functional.leaky_relu(x * scale[:, None, None] + shift[:, None, None], 0.01)
    x = nn.functional.conv_transpose2d(x, head.deconv.weight, head.deconv.bias, stride=2).relu()
    x = nn.functional.conv2d(x, head.predictor.weight, head.predictor.bias)
    torch.testing.assert_close(head.layers(features), x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("agnostic, channels", [(False, 8), (True, 1)])
def test_from_config(agnostic: bool, channels: int) -> None:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 8
    cfg.MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK = agnostic
    head = build_mask_head(cfg, ShapeSpec(channels=256, height=14, width=14))
    assert isinstance(head, SeparableMaskHead)
    assert len(head.convs) == 4 and head.predictor.out_channels == channels
    if not agnostic:  # 540,169 as released, without the 257 of the background channel
        assert sum(p.numel() for p in head.parameters()) == 540169 - 257


@pytest.mark.parametrize("norm", ["BN", "SyncBN", "GN", "FrozenBN", ""])
@pytest.mark.parametrize("training", [True, False])
def test_no_roi(norm: str, training: bool) -> None:
    """Gradients are 0, and statistics stay what they are."""
    head = _head(norm=norm).train(training)
    before = {k: b.fill_(0.7).clone() for k, b in head.named_buffers() if "running" in k}
    features = torch.zeros(0, 32, 14, 14, requires_grad=True)
    logits = head.layers(features)
    assert logits.shape == (0, 5, 28, 28)
    logits.sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and not parameter.grad.any(), name
    assert all(torch.equal(head.get_buffer(k), b) for k, b in before.items())


def test_synced_statistics_of_no_roi_on_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "detectron2.layers.batch_norm"
    monkeypatch.setattr(f"{module}.comm.get_world_size", lambda: 2)
    monkeypatch.setattr(f"{module}.differentiable_all_reduce", lambda vector: 2 * vector)
    head = _head(norm="SyncBN").train()
    before = {k: b.clone() for k, b in head.named_buffers() if "running" in k}
    head.layers(torch.zeros(0, 32, 14, 14)).sum().backward()
    assert before and all(torch.equal(head.get_buffer(k), b) for k, b in before.items())
    assert all(p.grad is not None and not p.grad.any() for p in head.parameters())
    head.layers(torch.randn(3, 32, 14, 14))  # statistics are those of twice the same RoIs
    assert not any(torch.equal(head.get_buffer(k), b) for k, b in before.items())
