"""The separable proposal head: in the place of Detectron2's, with its own norm."""

from typing import Any, Callable

import pytest
import torch
from torch import nn

from effps_solo.modeling.instance_head import StepTotals
from effps_solo.modeling.instance_head.mask_rcnn import SeparableRPNHead

Make = Callable[..., Any]


@pytest.mark.parametrize("norm, kind", [("BN", nn.BatchNorm2d), ("GN", nn.GroupNorm)])
def test_from_config_and_training(
    make_head: Make, make_features: Make, make_truth: Make, norm: str, kind: type
) -> None:
    head = make_head(RPN={"HEAD_NAME": "SeparableRPNHead", "NORM": norm}).train()
    rpn = head.proposal_generator.rpn_head
    assert isinstance(rpn, SeparableRPNHead)
    assert isinstance(rpn.conv.depthwise.norm, kind) and isinstance(rpn.conv.pointwise.norm, kind)
    targets = head.targets((64, 96), [make_truth([(4, 4, 40, 40)])], None)
    losses = head.losses(make_features(1), [(64, 96)], targets, StepTotals(targets.counts, 1))
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_worked_by_hand() -> None:
    """Depthwise and pointwise twice the identity, norms as made: 4 x, leaky below 0."""
    rpn = SeparableRPNHead(in_channels=2, num_anchors=2, norm="BN").eval()
    for conv, center in ((rpn.conv.depthwise, 1), (rpn.conv.pointwise, 0)):
        nn.init.zeros_(conv.weight)
        for channel in range(2):
            inputs = channel if conv is rpn.conv.pointwise else 0
            conv.weight.data[channel, inputs, center, center] = 2.0
    rpn.objectness_logits.weight.data = torch.eye(2)[:, :, None, None]
    x = torch.tensor([3.0, -1.0]).view(1, 2, 1, 1).expand(1, 2, 4, 5)
    objectness, deltas = rpn([x, x[..., :2, :3]])
    expected = torch.tensor([12.0, -4 * 0.01**2])
    for logits, boxes, size in zip(objectness, deltas, [(4, 5), (2, 3)]):
        assert logits.shape == (1, 2, *size) and boxes.shape == (1, 8, *size)
        torch.testing.assert_close(logits[0, :, 0, 0], expected, rtol=1e-4, atol=1e-6)
