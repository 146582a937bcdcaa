"""Converted Mask R-CNN heads of EfficientPS compute what the published ones compute.

The re-statement works on the foreign state dict in plain functions of torch: in-place ABN scales by
|weight| + 1e-5, class 0 is the background, boxes have inclusive corners.
"""

import math
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes

from effps_solo import add_effps_solo_config
from effps_solo.checkpoint.convert import convert_checkpoint
from effps_solo.config.files import load_config_file
from effps_solo.modeling.instance_head import MaskRCNNInstanceHead

State = Dict[str, torch.Tensor]
RELEASED = "cityscapes/effps_b5_mask_rcnn_released.yaml"
LEVELS, STRIDES = ["p2", "p3", "p4", "p5"], [4, 8, 16, 32]
PREFIX = "instance_head."
NUM_THINGS = 8
SCALE, RATIOS = 8, (0.5, 1.0, 2.0)  # of the anchors
BOX_STDS = torch.tensor([0.1, 0.1, 0.2, 0.2])


class Published:
    """RPN, box head and mask head on the names of the checkpoints."""

    def __init__(self, state: State) -> None:
        self.state = state

    def weights(self, name: str) -> Tuple[torch.Tensor, torch.Tensor]:
        return self.state[f"{name}.weight"], self.state[f"{name}.bias"]

    def rpn(self, x: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """(N, 3, H, W) objectness and (N, 12, H, W) deltas."""
        if "rpn_head.rpn_conv.weight" in self.state:
            x = F.conv2d(x, *self.weights("rpn_head.rpn_conv"), padding=1).clamp(min=0)
        else:
            x = self.separable(x, "rpn_head.rpn_conv")
        objectness = F.conv2d(x, *self.weights("rpn_head.rpn_cls"))
        return objectness, F.conv2d(x, *self.weights("rpn_head.rpn_reg"))

    def box(self, roi: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """(R, 9) scores and (R, 36) deltas."""
        x = roi.reshape(len(roi), -1)
        for index in range(2):
            x = F.linear(x, *self.weights(f"bbox_head.shared_fcs.{index}")).clamp(min=0)
        scores = F.linear(x, *self.weights("bbox_head.fc_cls"))
        return scores, F.linear(x, *self.weights("bbox_head.fc_reg"))

    def abn(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias, mean, var = (
            self.state[f"{name}.{part}"].view(1, -1, 1, 1)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        x = (x - mean) / (var + 1e-5).sqrt() * (weight.abs() + 1e-5) + bias
        return torch.where(x < 0, 0.01 * x, x)

    def separable(self, x: torch.Tensor, name: str) -> torch.Tensor:
        depthwise = self.state[f"{name}.depthwise_conv.conv.weight"]
        pointwise = self.state[f"{name}.pointwise_conv.conv.weight"]
        x = F.conv2d(x, depthwise, padding=1, groups=x.shape[1])
        x = F.conv2d(self.abn(x, f"{name}.depthwise_conv.bn"), pointwise)
        return self.abn(x, f"{name}.pointwise_conv.bn")

    def mask(self, roi: torch.Tensor) -> torch.Tensor:
        """(R, 9, 28, 28) logits."""
        x = roi
        for index in range(4):
            x = self.separable(x, f"mask_head.convs.{index}")
        x = F.conv_transpose2d(x, *self.weights("mask_head.upsample"), stride=2).clamp(min=0)
        return F.conv2d(x, *self.weights("mask_head.conv_logits"))


def released_head(project_root: Path, rpn_head: str = "StandardRPNHead") -> MaskRCNNInstanceHead:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    load_config_file(cfg, str(project_root / "configs" / RELEASED))
    cfg.MODEL.RPN.HEAD_NAME = rpn_head
    shapes = {n: ShapeSpec(channels=256, stride=s) for n, s in zip(LEVELS, STRIDES)}
    return MaskRCNNInstanceHead(cfg, shapes).eval()


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """To 1e-5 of the size of the outputs in fp32, to rounding errors in fp64."""
    assert ours.shape == theirs.shape and theirs.std() > 0.01
    bound = 1e-5 if ours.dtype == torch.float32 else 1e-12
    assert float((ours - theirs).abs().max()) < bound * float(theirs.abs().max())


@pytest.mark.parametrize("separable_rpn", [False, True])
@torch.no_grad()
def test_forward_equals_the_published_computation(
    efficientps_state: Callable, project_root: Path, separable_rpn: bool
) -> None:
    foreign = efficientps_state("b0", num_things=NUM_THINGS, separable_rpn=separable_rpn)
    assert (foreign["mask_head.convs.2.pointwise_conv.bn.weight"] < 0).any()
    published = Published(foreign)
    state, report = convert_checkpoint(foreign)
    own = {key[len(PREFIX) :]: value for key, value in state.items() if key.startswith(PREFIX)}
    head_name = report.settings.get("MODEL.RPN.HEAD_NAME", "StandardRPNHead")
    head: Any = released_head(project_root, head_name).double()
    head.load_state_dict(own)
    torch.manual_seed(0)
    pyramid = [torch.randn(2, 256, 40 // s, 64 // s, dtype=torch.float64) for s in (1, 2, 4, 8)]
    box_roi = torch.randn(5, 256, 7, 7, dtype=torch.float64)
    mask_roi = torch.randn(3, 256, 14, 14, dtype=torch.float64)
    scores, deltas = published.box(box_roi)
    masks = published.mask(mask_roi)
    for dtype in (torch.float64, torch.float32):
        head.to(dtype)
        outputs = head.proposal_generator.rpn_head([x.to(dtype) for x in pyramid])
        for level, x in enumerate(pyramid):
            for ours, theirs in zip(outputs, published.rpn(x)):
                assert_close(ours[level], theirs)
        heads = head.roi_heads
        ours_scores, ours_deltas = heads.box_predictor(heads.box_head(box_roi.to(dtype)))
        assert_close(ours_scores, scores.roll(-1, dims=1))  # the background comes last
        assert_close(ours_deltas, deltas[:, 4:])
        assert_close(heads.mask_head.layers(mask_roi.to(dtype)), masks[:, 1:])


def published_anchors(stride: int, rows: int, columns: int) -> torch.Tensor:
    """(rows * columns * 3, 4) XYXY with inclusive corners: row, column, ratio."""
    anchors: List[List[float]] = []
    center = 0.5 * (stride - 1)
    for row in range(rows):
        for column in range(columns):
            for ratio in RATIOS:
                width = stride * SCALE / math.sqrt(ratio)
                height = stride * SCALE * math.sqrt(ratio)
                first = [round(center - 0.5 * (side - 1)) for side in (width, height)]
                last = [round(center + 0.5 * (side - 1)) for side in (width, height)]
                shift = [stride * column, stride * row]
                anchors.append([a + b for a, b in zip(first + last, shift + shift)])
    return torch.tensor(anchors)


def published_decoding(boxes: torch.Tensor, deltas: torch.Tensor) -> torch.Tensor:
    """Boxes with inclusive corners, whose width is x1 - x0 + 1."""
    size = boxes[:, 2:] - boxes[:, :2] + 1
    center = (boxes[:, 2:] + boxes[:, :2]) / 2 + size * deltas[:, :2]
    size = size * deltas[:, 2:].exp()
    return torch.cat([center - 0.5 * size + 0.5, center + 0.5 * size - 0.5], dim=1)


def exclusive(boxes: torch.Tensor) -> torch.Tensor:
    """The same boxes where x1, y1 is the end of the last pixel."""
    return boxes + torch.tensor([0.0, 0.0, 1.0, 1.0])


def test_proposals_are_decoded_to_a_pixel(project_root: Path) -> None:
    """Anchors in the same order; the published ones are rounded to pixels."""
    rpn: Any = released_head(project_root).proposal_generator
    features = [torch.zeros(1, 1, 48 // s, 64 // s) for s in STRIDES]
    torch.manual_seed(0)
    for stride, x, anchors in zip(STRIDES, features, rpn.anchor_generator(features)):
        theirs = published_anchors(stride, *x.shape[-2:])
        assert (anchors.tensor - exclusive(theirs)).abs().max() <= 0.5 + 1e-4
        deltas = 0.4 * torch.rand(len(theirs), 4) - 0.2
        ours = rpn.box2box_transform.apply_deltas(deltas, anchors.tensor)
        assert (ours - exclusive(published_decoding(theirs, deltas))).abs().max() <= 1


def test_boxes_are_decoded_alike(project_root: Path) -> None:
    predictor: Any = released_head(project_root).roi_heads.box_predictor
    torch.manual_seed(0)
    corner = 100 * torch.rand(50, 2)
    boxes = torch.cat([corner, corner + 5 + 80 * torch.rand(50, 2)], dim=1)
    deltas = torch.randn(50, 4)
    ours = predictor.box2box_transform.apply_deltas(deltas, exclusive(boxes))
    theirs = exclusive(published_decoding(boxes, deltas * BOX_STDS))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("side, level", [(1, 0), (55, 0), (111, 0), (112, 1), (223, 1), (448, 3)])
def test_objects_are_pooled_from_the_published_level(
    project_root: Path, side: int, level: int
) -> None:
    """floor(log2(sqrt(w h) / 56)) in 0 .. 3."""
    heads: Any = released_head(project_root).roi_heads
    assert level == min(max(math.floor(math.log2(side / 56)), 0), 3)
    features = [torch.full((1, 256, 512 // s, 512 // s), float(i)) for i, s in enumerate(STRIDES)]
    boxes = [Boxes(torch.tensor([[0.0, 0.0, side, side]]))]
    for pooler in (heads.box_pooler, heads.mask_pooler):
        assert (pooler(features, boxes) == level).all()
