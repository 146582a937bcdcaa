"""Synthetic checkpoints in the published layouts: names and shapes from their structure, random values.

Every builder is a fixture that returns a function. dtype is fp64, in which a converted model and a
re-statement agree to rounding errors far below any mistake.
"""

from typing import Callable, Dict, Iterator, Sequence, Tuple

import pytest
import torch

State = Dict[str, torch.Tensor]
DTYPE = torch.float64
# Stem, output channels of the seven stages, blocks of each, conv_head.
EFFICIENTNETS = {
    "b0": (32, (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1), 1280),
    "b5": (48, (24, 40, 64, 128, 176, 304, 512), (3, 5, 5, 7, 7, 9, 3), 2048),
}
KERNELS = (3, 3, 5, 3, 5, 5, 3)
EXPANSION = 6


class Writer:
    """Collects random tensors under the names of one layout.

    Without ``values``, for tests of names and shapes, they are ones that take no memory and no time.
    """

    def __init__(self, seed: int, counters: bool = True, values: bool = True) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.counters, self.values = counters, values
        self.state: State = {}

    def normal(self, *shape: int, std: float = 1.0) -> torch.Tensor:
        if not self.values:
            return torch.ones(1, dtype=DTYPE).expand(shape)
        return torch.randn(*shape, generator=self.generator, dtype=DTYPE) * std

    def conv(self, name: str, *shape: int, bias: bool = False) -> None:
        fan_in = max(1, int(torch.tensor(shape[1:]).prod()))
        self.state[f"{name}.weight"] = self.normal(*shape, std=(2.0 / fan_in) ** 0.5)
        if bias:
            self.state[f"{name}.bias"] = self.normal(shape[0], std=0.2)

    def affine(self, name: str, channels: int) -> None:
        """Weights of both signs, as in-place ABN learns them, and biases."""
        sign = torch.where(self.normal(channels) > 0, 1.0, -1.0)
        self.state[f"{name}.weight"] = sign * (0.5 + self.normal(channels).abs() / 2)
        self.state[f"{name}.bias"] = self.normal(channels, std=0.3)

    def batch_norm(self, name: str, channels: int) -> None:
        self.affine(name, channels)
        self.state[f"{name}.running_mean"] = self.normal(channels, std=0.3)
        self.state[f"{name}.running_var"] = 0.5 + self.normal(channels).abs()
        if self.counters:
            self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)


def write_efficientnet(writer: Writer, network: str, prefix: str, squeeze_excite: bool) -> None:
    stem, channels, repeats, head = EFFICIENTNETS[network]
    writer.conv(f"{prefix}conv_stem", stem, 3, 3, 3)
    writer.batch_norm(f"{prefix}bn1", stem)
    inputs = stem
    for stage, (outputs, count, kernel) in enumerate(zip(channels, repeats, KERNELS)):
        for index in range(count):
            block = f"{prefix}blocks.{stage}.{index}"
            if stage == 0:
                middle = inputs
                layers = [("conv_dw", (inputs, 1, kernel, kernel)), ("conv_pw", (outputs, inputs))]
            else:
                middle = EXPANSION * inputs
                layers = [
                    ("conv_pw", (middle, inputs)),
                    ("conv_dw", (middle, 1, kernel, kernel)),
                    ("conv_pwl", (outputs, middle)),
                ]
            for number, (name, shape) in enumerate(layers, 1):
                writer.conv(f"{block}.{name}", *shape, *([1, 1] if len(shape) == 2 else []))
                writer.batch_norm(f"{block}.bn{number}", shape[0])
            if squeeze_excite:
                reduced = max(1, inputs // 4)
                writer.conv(f"{block}.se.conv_reduce", reduced, middle, 1, 1, bias=True)
                writer.conv(f"{block}.se.conv_expand", middle, reduced, 1, 1, bias=True)
            inputs = outputs
    writer.conv(f"{prefix}conv_head", head, inputs, 1, 1)
    writer.batch_norm(f"{prefix}bn2", head)


def write_conv_module(writer: Writer, name: str, *shape: int) -> None:
    writer.conv(f"{name}.conv", *shape)
    writer.batch_norm(f"{name}.bn", shape[0])


def write_separable(writer: Writer, name: str, inputs: int, outputs: int) -> None:
    write_conv_module(writer, f"{name}.depthwise_conv", inputs, 1, 3, 3)
    write_conv_module(writer, f"{name}.pointwise_conv", outputs, inputs, 1, 1)


def write_neck(writer: Writer, channels: Sequence[int], separable: bool) -> None:
    for index, inputs in enumerate(channels):
        write_conv_module(writer, f"neck.lateral_convs_top.{index}", 256, inputs, 1, 1)
    for index, inputs in enumerate(reversed(channels)):
        write_conv_module(writer, f"neck.lateral_convs_bottom.{index}", 256, inputs, 1, 1)
    for index in range(4):
        if separable:
            write_separable(writer, f"neck.fpn_convs.{index}", 256, 256)
        else:
            write_conv_module(writer, f"neck.fpn_convs.{index}", 256, 256, 3, 3)


def write_semantic_head(writer: Writer, num_classes: int) -> None:
    for index in range(2):
        for conv in range(5):
            name = f"semantic_head.lateral_convs_ss.{index}.convs.{conv}"
            write_separable(writer, name, 256, 256)
        name = f"semantic_head.lateral_convs_ss.{index}.conv"
        write_conv_module(writer, name, 128, 5 * 256, 1, 1)
        for conv in range(2):
            name = f"semantic_head.lateral_convs_ls.{index}.convs.{conv}"
            write_separable(writer, name, 128 if conv else 256, 128)
            write_separable(writer, f"semantic_head.aligning_convs.{index}.convs.{conv}", 128, 128)
    writer.conv("semantic_head.conv_logits", num_classes, 4 * 128, 1, 1, bias=True)


def write_mask_rcnn(writer: Writer, num_things: int, separable_rpn: bool) -> None:
    if separable_rpn:
        write_separable(writer, "rpn_head.rpn_conv", 256, 256)
    else:
        writer.conv("rpn_head.rpn_conv", 256, 256, 3, 3, bias=True)
    writer.conv("rpn_head.rpn_cls", 3, 256, 1, 1, bias=True)
    writer.conv("rpn_head.rpn_reg", 12, 256, 1, 1, bias=True)
    writer.conv("bbox_head.shared_fcs.0", 1024, 256 * 7 * 7, bias=True)
    writer.conv("bbox_head.shared_fcs.1", 1024, 1024, bias=True)
    writer.conv("bbox_head.fc_cls", num_things + 1, 1024, bias=True)
    writer.conv("bbox_head.fc_reg", 4 * (num_things + 1), 1024, bias=True)
    for index in range(4):
        write_separable(writer, f"mask_head.convs.{index}", 256, 256)
    writer.conv("mask_head.upsample", 256, 256, 2, 2, bias=True)
    writer.conv("mask_head.conv_logits", num_things + 1, 256, 1, 1, bias=True)


@pytest.fixture(scope="session")
def efficientps_state() -> Callable[..., State]:
    """Function of the network; keywords say which parts it has, and their sizes."""

    def build(
        network: str = "b0",
        *,
        separable: bool = False,
        num_classes: int = 19,
        num_things: int = 8,
        mask_rcnn: bool = True,
        separable_rpn: bool = False,
        counters: bool = True,
        values: bool = True,
    ) -> State:
        writer = Writer(0, counters, values)
        _, channels, _, head = EFFICIENTNETS[network]
        write_efficientnet(writer, network, "backbone.", squeeze_excite=False)
        write_neck(writer, (channels[1], channels[2], channels[4], head), separable)
        write_semantic_head(writer, num_classes)
        if mask_rcnn:
            write_mask_rcnn(writer, num_things, separable_rpn)
        return writer.state

    return build


@pytest.fixture(scope="session")
def timm_state() -> Callable[..., State]:
    """Function of (network, values)."""

    def build(network: str = "b0", values: bool = False) -> State:
        writer = Writer(1, values=values)
        write_efficientnet(writer, network, "", squeeze_excite=True)
        writer.conv("classifier", 1000, EFFICIENTNETS[network][3], bias=True)
        return writer.state

    return build


STAGE_BLOCKS = (3, 4, 6, 3)  # ResNet-50
MASK_LEVELS = ((0, 0), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))


def solov2_names(layout: str) -> Dict[str, str]:
    """Where ``layout`` has the parts of SOLOv2; {} are indices."""
    if layout == "adelaidet":
        return {
            "category": "ins_head.cate_tower.{}",
            "kernel": "ins_head.kernel_tower.{}",
            "category_predictor": "ins_head.cate_pred",
            "kernel_predictor": "ins_head.kernel_pred",
            "mask": "mask_head.convs_all_levels.{}.conv{}",
            "mask_predictor": "mask_head.conv_pred",
        }
    if layout == "solo":
        head, mask, category = "bbox_head", "mask_feat_head", "cate_convs"
        predictors = ("solo_cate", "solo_kernel", "conv_pred.0")
    else:
        head, mask, category = "mask_head", "mask_head.mask_feature_head", "cls_convs"
        predictors = ("conv_cls", "conv_kernel", "conv_pred")
    return {
        "category": f"{head}.{category}.{{}}",
        "kernel": f"{head}.kernel_convs.{{}}",
        "category_predictor": f"{head}.{predictors[0]}",
        "kernel_predictor": f"{head}.{predictors[1]}",
        "mask": f"{mask}.convs_all_levels.{{}}.conv{{}}",
        "mask_predictor": f"{mask}.{predictors[2]}",
    }


def resnet_convs() -> Iterator[Tuple[int, int, int, Tuple[int, ...]]]:
    """(stage, block, number of the convolution or 0 for the shortcut, shape) of ResNet-50."""
    inputs = 64
    for stage, blocks in enumerate(STAGE_BLOCKS):
        middle, outputs = 64 * 2**stage, 256 * 2**stage
        for block in range(blocks):
            yield stage, block, 1, (middle, inputs, 1, 1)
            yield stage, block, 2, (middle, middle, 3, 3)
            yield stage, block, 3, (outputs, middle, 1, 1)
            if block == 0:
                yield stage, block, 0, (outputs, inputs, 1, 1)
            inputs = outputs


def write_resnet_fpn(writer: Writer, detectron2_names: bool) -> None:
    ours = detectron2_names
    stem = "backbone.bottom_up.stem.conv1" if ours else "backbone.conv1"
    writer.conv(stem, 64, 3, 7, 7)
    writer.batch_norm(f"{stem}.norm" if ours else "backbone.bn1", 64)
    for stage, block, number, shape in resnet_convs():
        if ours:
            part = f"conv{number}" if number else "shortcut"
            conv = f"backbone.bottom_up.res{stage + 2}.{block}.{part}"
            norm = f"{conv}.norm"
        else:
            start = f"backbone.layer{stage + 1}.{block}"
            conv = f"{start}.conv{number}" if number else f"{start}.downsample.0"
            norm = f"{start}.bn{number}" if number else f"{start}.downsample.1"
        writer.conv(conv, *shape)
        writer.batch_norm(norm, shape[0])
    for level in range(4):
        lateral = f"backbone.fpn_lateral{level + 2}" if ours else f"neck.lateral_convs.{level}.conv"
        output = f"backbone.fpn_output{level + 2}" if ours else f"neck.fpn_convs.{level}.conv"
        writer.conv(lateral, 256, 256 * 2**level, 1, 1, bias=True)
        writer.conv(output, 256, 256, 3, 3, bias=True)


def write_solov2_head(
    writer: Writer, layout: str, num_classes: int, channels: int, kernel_dim: int, num_convs: int
) -> None:
    names = solov2_names(layout)

    def block(name: str, *shape: int, index: int = 0) -> None:
        """Convolution and group norm."""
        if layout == "adelaidet":  # a sequence of convolution, norm, ReLU
            conv, norm = f"{name}.{3 * index}", f"{name}.{3 * index + 1}"
        else:
            conv, norm = f"{name}.conv", f"{name}.gn"
        writer.conv(conv, *shape)
        writer.affine(norm, shape[0])

    for tower, extra in (("category", 0), ("kernel", 2)):
        for index in range(num_convs):
            inputs = channels if index else 256 + extra
            name = names[tower].format(index)
            if layout == "adelaidet":
                name = name.rpartition(".")[0]
            block(name, channels, inputs, 3, 3, index=index)
    writer.conv(names["category_predictor"], num_classes, channels, 3, 3, bias=True)
    writer.conv(names["kernel_predictor"], kernel_dim, channels, 3, 3, bias=True)
    for level, index in MASK_LEVELS:
        inputs = 128 if index else 258 if level == 3 else 256
        block(names["mask"].format(level, index), 128, inputs, 3, 3)
    block(names["mask_predictor"], kernel_dim, 128, 1, 1)


@pytest.fixture(scope="session")
def solov2_state() -> Callable[..., State]:
    """Function of (layout, num_classes, channels, kernel_dim, num_convs, backbone, values)."""

    def build(
        layout: str,
        *,
        num_classes: int = 80,
        channels: int = 512,
        kernel_dim: int = 256,
        num_convs: int = 4,
        backbone: bool = True,
        values: bool = True,
    ) -> State:
        writer = Writer(2, layout != "adelaidet", values)
        if backbone:
            write_resnet_fpn(writer, detectron2_names=layout == "adelaidet")
        write_solov2_head(writer, layout, num_classes, channels, kernel_dim, num_convs)
        return writer.state

    return build


@pytest.fixture(scope="session")
def solov2_part() -> Callable[[str], Dict[str, str]]:
    """Function of the layout: names of the parts of the head."""
    return solov2_names
