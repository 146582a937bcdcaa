"""Converted SOLOv2 weights compute what the published network computes with the original ones.

The re-statement here is written from the description, in plain functions of torch, on the foreign
names: ResNet-50, feature pyramid, coordinates before the resize to the grid, group norm of 32 groups,
a ReLU behind the mask features. All of it is in fp64.
"""

from typing import Callable, Dict, List, Tuple

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from torch import nn

from effps_solo import add_effps_solo_config
from effps_solo.checkpoint.convert import convert_checkpoint
from effps_solo.config.files import merge_overrides
from effps_solo.modeling.instance_head import build_instance_head

State = Dict[str, torch.Tensor]
GRIDS = [10, 9, 6, 4, 3]  # a quarter of the published ones, whose weights do not depend on them
NUM_CONVS, FIRST_LEVEL = 4, 2
NARROW = {"channels": 64, "kernel_dim": 32, "num_classes": 3}


class Published:
    """SOLOv2 with ResNet-50-FPN on the names of one layout."""

    def __init__(self, state: State, layout: str, names: Dict[str, str]) -> None:
        self.state, self.layout, self.names = state, layout, names
        self.detectron2 = layout == "adelaidet"

    def conv(self, x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        weight = self.state[f"{name}.weight"]
        bias = self.state.get(f"{name}.bias")
        return F.conv2d(x, weight, bias, stride, padding=weight.shape[-1] // 2)

    def batch_norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias, mean, var = (
            self.state[f"{name}.{part}"].view(1, -1, 1, 1)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def group_norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        n, c, h, w = x.shape
        groups = x.reshape(n, 32, -1)
        centred = groups - groups.mean(-1, keepdim=True)
        x = (centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()).view(n, c, h, w)
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return x * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)

    def bottleneck(self, x: torch.Tensor, stage: int, block: int) -> torch.Tensor:
        if self.detectron2:
            start = f"backbone.bottom_up.res{stage + 2}.{block}"
            names = [(f"{start}.conv{i}", f"{start}.conv{i}.norm") for i in (1, 2, 3)]
            shortcut = (f"{start}.shortcut", f"{start}.shortcut.norm")
        else:
            start = f"backbone.layer{stage + 1}.{block}"
            names = [(f"{start}.conv{i}", f"{start}.bn{i}") for i in (1, 2, 3)]
            shortcut = (f"{start}.downsample.0", f"{start}.downsample.1")
        stride = 2 if stage > 0 and block == 0 else 1
        # MSRA's networks have the stride in the first convolution, torchvision's in the second.
        strides = (stride, 1, 1) if self.detectron2 else (1, stride, 1)
        y = x
        for i, ((conv, norm), s) in enumerate(zip(names, strides)):
            y = self.batch_norm(self.conv(y, conv, s), norm)
            y = y.clamp(min=0) if i < 2 else y
        if block == 0:
            x = self.batch_norm(self.conv(x, shortcut[0], stride), shortcut[1])
        return (x + y).clamp(min=0)

    def pyramid(self, image: torch.Tensor) -> List[torch.Tensor]:
        """p2 .. p6."""
        stem = (
            ("backbone.bottom_up.stem.conv1", "backbone.bottom_up.stem.conv1.norm")
            if self.detectron2
            else ("backbone.conv1", "backbone.bn1")
        )
        x = self.batch_norm(self.conv(image, stem[0], 2), stem[1]).clamp(min=0)
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        laterals = []
        for stage, blocks in enumerate((3, 4, 6, 3)):
            for block in range(blocks):
                x = self.bottleneck(x, stage, block)
            laterals.append(self.conv(x, self._fpn("lateral", stage)))
        for i in (2, 1, 0):
            coarse = laterals[i + 1]
            laterals[i] = laterals[i] + coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
        outputs = [self.conv(x, self._fpn("output", i)) for i, x in enumerate(laterals)]
        return [*outputs, outputs[-1][:, :, ::2, ::2]]

    def _fpn(self, kind: str, level: int) -> str:
        if self.detectron2:
            return f"backbone.fpn_{kind}{level + FIRST_LEVEL}"
        return f"neck.{'lateral' if kind == 'lateral' else 'fpn'}_convs.{level}.conv"

    def block(self, x: torch.Tensor, name: str, index: int = 0) -> torch.Tensor:
        """Convolution, group norm, ReLU."""
        if self.layout == "adelaidet":
            conv, norm = f"{name}.{3 * index}", f"{name}.{3 * index + 1}"
        else:
            conv, norm = f"{name}.conv", f"{name}.gn"
        return self.group_norm(self.conv(x, conv), norm).clamp(min=0)

    @staticmethod
    def with_xy(x: torch.Tensor) -> torch.Tensor:
        n, _, h, w = x.shape
        columns = torch.linspace(-1, 1, w, dtype=x.dtype).view(1, 1, 1, w).expand(n, 1, h, w)
        rows = torch.linspace(-1, 1, h, dtype=x.dtype).view(1, 1, h, 1).expand(n, 1, h, w)
        return torch.cat([x, columns, rows], 1)

    def tower(self, x: torch.Tensor, kind: str) -> torch.Tensor:
        for index in range(NUM_CONVS):
            name = self.names[kind].format(index)
            if self.layout == "adelaidet":
                name = name.rpartition(".")[0]
            x = self.block(x, name, index)
        return self.conv(x, self.names[f"{kind}_predictor"])

    def grid_outputs(self, levels: List[torch.Tensor]) -> Tuple[torch.Tensor, torch.Tensor]:
        """(N, cells, T) logits and (N, cells, D) kernels."""
        p5 = levels[3]
        levels = [
            F.avg_pool2d(levels[0], 2),
            *levels[1:4],
            F.interpolate(levels[4], size=p5.shape[2:], mode="bilinear", align_corners=False),
        ]
        category, kernels = [], []
        for x, size in zip(levels, GRIDS):
            x = F.interpolate(
                self.with_xy(x), size=(size, size), mode="bilinear", align_corners=False
            )
            category.append(self.tower(x[:, :-2], "category").flatten(2))
            kernels.append(self.tower(x, "kernel").flatten(2))
        return torch.cat(category, 2).mT, torch.cat(kernels, 2).mT

    def mask_features(self, levels: List[torch.Tensor]) -> torch.Tensor:
        total = self.block(levels[0], self.names["mask"].format(0, 0))
        for level in (1, 2, 3):
            x = self.with_xy(levels[level]) if level == 3 else levels[level]
            for index in range(level):
                x = self.block(x, self.names["mask"].format(level, index))
                size = (2 * x.shape[2], 2 * x.shape[3])
                x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
            total = total + x
        return self.block(total, self.names["mask_predictor"])


def converted_network(state: State) -> nn.ModuleDict:
    converted, report = convert_checkpoint(state)
    settings = {**report.settings, "MODEL.SOLOV2.NUM_GRIDS": [[s, s] for s in GRIDS]}
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    merge_overrides(cfg, [str(word) for setting in settings.items() for word in setting])
    backbone = build_backbone(cfg, ShapeSpec(channels=3))
    head = build_instance_head(cfg, backbone.output_shape())
    model = nn.ModuleDict({"backbone": backbone, "instance_head": head}).double().eval()
    model.load_state_dict(converted)
    return model


@pytest.mark.parametrize(
    "layout, width",
    [
        *((layout, NARROW) for layout in ("adelaidet", "solo", "mmdet")),
        pytest.param("mmdet", {}, marks=pytest.mark.slow, id="mmdet-published"),
    ],
)
@torch.no_grad()
def test_forward_equals_the_published_computation(
    solov2_state: Callable, solov2_part: Callable, layout: str, width: Dict[str, int]
) -> None:
    foreign = solov2_state(layout, **width)
    model = converted_network(foreign)
    published = Published(foreign, layout, solov2_part(layout))
    torch.manual_seed(0)
    image = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    levels = published.pyramid(image)
    pyramid = model["backbone"](image)
    assert list(pyramid) == ["p2", "p3", "p4", "p5", "p6"]
    for ours, theirs in zip(pyramid.values(), levels):
        torch.testing.assert_close(ours, theirs)
    head = model["instance_head"]
    output = head(pyramid, head.cells)
    category, kernels = published.grid_outputs(levels)
    torch.testing.assert_close(output.category, category)
    torch.testing.assert_close(output.kernels, kernels)
    features = published.mask_features(levels)
    torch.testing.assert_close(output.mask_features, features)
    assert (features >= 0).all() and features.std() > 0.1
    # Masks: one 1x1 convolution for each cell.
    cells = torch.tensor([0, 57, 190])
    masks = F.conv2d(features, kernels[0, cells][:, :, None, None])[0]
    ours = head.masks(output, head.cells).of(cells).logits()
    torch.testing.assert_close(ours, masks)

    # The same in fp32, backbone and head each from exact inputs, relative to the size of the outputs.
    model.float()
    for ours, theirs in zip(model["backbone"](image.float()).values(), levels):
        assert float((ours - theirs).abs().max()) < 1e-5 * float(theirs.abs().max())
    output = head({name: x.float() for name, x in pyramid.items()}, head.cells)
    ours = head.masks(output, head.cells).of(cells).logits()
    assert float((ours - masks).abs().max()) < 1e-5 * float(masks.abs().max())
