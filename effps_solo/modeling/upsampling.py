"""From the network's frame to the output's frame.

The network sees an image of (h, w) pixels, padded; its maps have stride 4: point (i, j) of a map lies
at pixel (4 i + 2, 4 j + 2). The output has (H, W) pixels. Either frame has its origin in the corner of
the first pixel, and pixel centres at halves.

A block is what lies between four points of a map, or between those at its border and the border: of h x w
points there are (h + 1) x (w + 1). Its R x C pixels are what the output has there; R = C = 4 where it has the
size of the image. The dimension of the blocks comes last, so that each operation runs over long rows.
"""

from dataclasses import dataclass, fields
from typing import Callable, NamedTuple, Sequence, Tuple

import torch
import torch.nn.functional as F

from .execution import is_known, works_in_parts
from .pixel_labels import Size, UpsampledLabels

STRIDE = 4
CONTESTED_CHUNK = 2**16  # pixels that are interpolated at once


def stride4_size(image_size: Size) -> Size:
    """Rows and columns of the stride-4 map that cover an image of (h, w)."""
    return (image_size[0] + STRIDE - 1) // STRIDE, (image_size[1] + STRIDE - 1) // STRIDE


@dataclass
class BlockSampler:
    """Bilinear samples of stride-4 maps at the pixels of B blocks.

    Attributes:
        corners: (4, B) int64, the points around each block as y * w + x: upper left, upper right, lower left,
            lower right.
        wy, wx: (2, R, B) and (2, C, B) weights of the upper and lower, of the left and right ones.
    """

    corners: torch.Tensor
    wy: torch.Tensor
    wx: torch.Tensor

    def __call__(self, maps: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
        """(C, h4, w4) maps and (n, B) channel indices -> (n, R, C, B) samples."""
        index = channels[:, None] * (maps.shape[1] * maps.shape[2]) + self.corners
        return self.mixed(maps.flatten().index_select(0, index.flatten()).view_as(index))

    def mixed(self, values: torch.Tensor) -> torch.Tensor:
        """(n, 4, B) values at the corners -> (n, R, C, B) samples."""
        left, right = values.unflatten(1, (2, 2))[:, :, :, None].unbind(dim=2)
        upper, lower = _mix(left, right, self.wx).unbind(dim=1)
        return _mix(upper[:, None], lower[:, None], self.wy[:, :, None])

    def __getitem__(self, index: torch.Tensor) -> "BlockSampler":
        """The sampler of some of the blocks."""
        return BlockSampler(*(x.index_select(-1, index) for x in (self.corners, self.wy, self.wx)))


def _mix(first: torch.Tensor, second: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Interpolation; torch.lerp rounds differently when its ends are swapped."""
    return first * weights[0] + second * weights[1]


# (channels (n, B), sampler of B blocks) -> scores (n, R, C, B)
ScoreAt = Callable[[torch.Tensor, BlockSampler], torch.Tensor]
# sampler of B blocks -> labels (R, C, B)
LabelAt = Callable[[BlockSampler], torch.Tensor]


def upsampled_argmax(scores: torch.Tensor, image_size: Size, output_size: Size) -> torch.Tensor:
    """Argmax over the channels of bilinearly upsampled maps, see :func:`best_channel`.

    Args:
        scores: (C, h4, w4) stride-4 maps, C >= 1.
        image_size, output_size: (h, w) of the network's frame, (H, W).

    Returns:
        (H, W) int64 channel indices.
    """
    winner = scores.max(dim=0).indices
    return upsampled_labels(
        winner,
        image_size,
        output_size,
        lambda sample: best_channel(winner, sample, scores_of(scores)),
    ).map()


def scores_of(maps: torch.Tensor) -> ScoreAt:
    """The scores that (C, h4, w4) ``maps`` hold."""
    return lambda channels, sample: sample(maps, channels)


def upsampled_labels(
    labels: torch.Tensor, image_size: Size, output_size: Size, label_at: LabelAt
) -> UpsampledLabels:
    """The label of every pixel, without upsampling a map.

    Where the four points around a block have one label, which is nearly everywhere, so have its pixels.

    Args:
        labels: (h4, w4) integers of the stride-4 points.
        image_size: (h, w) of the network's frame, without padding.
        output_size: (H, W).
        label_at: decides everywhere else.

    Returns:
        of H x W pixels, in the type of ``labels``.
    """
    rows, columns = (
        _Axis.of(*lengths).to(labels.device)
        for lengths in zip(image_size, output_size, labels.shape)
    )
    around = torch.cat([labels[:1], labels, labels[-1:]])
    around = torch.cat([around[:, :1], around, around[:, -1:]], dim=1)
    blocks = around[:-1, :-1]
    differ = (around[:-1, 1:] != blocks) | (around[1:, :-1] != blocks) | (around[1:, 1:] != blocks)
    contested = differ & rows.has_pixels[:, None] & columns.has_pixels
    pixels, decided, counted = [], [], []
    for some in _chunks(
        contested.flatten().nonzero()[:, 0], len(rows.pixels) * len(columns.pixels)
    ):
        y = some // (labels.shape[1] + 1)
        # No remainder: ONNX has none of a number that is not known at export.
        down, across = rows.at(y), columns.at(some - y * (labels.shape[1] + 1))
        corners = [
            first * labels.shape[1] + second for first in down.points for second in across.points
        ]
        sampler = BlockSampler(torch.stack(corners), down.weights, across.weights)
        decided.append(label_at(sampler).flatten().to(labels.dtype))
        pixels.append((down.pixels[:, None] * output_size[1] + across.pixels).flatten())
        counted.append((down.counted[:, None] & across.counted).flatten())
    return UpsampledLabels(
        blocks,
        contested,
        rows.of_pixels,
        columns.of_pixels,
        *(torch.cat(parts) for parts in (pixels, decided, counted)),
    )


def _chunks(blocks: torch.Tensor, num_pixels: int) -> Sequence[torch.Tensor]:
    """Parts whose interpolation stays in a CPU's caches; elsewhere one part."""
    if not works_in_parts(blocks):
        return [blocks]
    return blocks.split(max(1, CONTESTED_CHUNK // num_pixels))


def best_channel(winner: torch.Tensor, sampler: BlockSampler, score_at: ScoreAt) -> torch.Tensor:
    """(R, C, B) int64: of the channels that win at the points around each block the best at its pixels.

    The lowest of equals; a channel that wins only between the points could be missed in theory. Most
    blocks have two channels to choose from: others are looked at where there are more.

    Args:
        winner: (h4, w4) int64, the winner of each stride-4 point.
        sampler: of B blocks.
        score_at: the scores of given channels at given blocks.
    """
    around = winner.flatten().index_select(0, sampler.corners.flatten()).view_as(sampler.corners)
    first, second, third, fourth = around
    other = second.where(second != first, third.where(third != first, fourth))
    scores, channel = _best_of_two(first, other, sampler, score_at)
    crowded = ((around[2:] != first) & (around[2:] != other)).any(dim=0).nonzero()[:, 0]
    third, fourth = around[2:].index_select(1, crowded)
    ahead, best = _best_of_two(third, fourth, sampler[crowded], score_at)
    scores, channels = scores.index_select(2, crowded), channel.index_select(2, crowded)
    best = best.where((ahead > scores) | ((ahead == scores) & (best < channels)), channels)
    return channel.scatter(2, crowded.expand_as(best), best)


def _best_of_two(
    first: torch.Tensor, second: torch.Tensor, sampler: BlockSampler, score_at: ScoreAt
) -> Tuple[torch.Tensor, torch.Tensor]:
    """(R, C, B) the larger scores of two (B,) channels and whose they are; of equals the lower one's."""
    low, high = first.minimum(second), first.maximum(second)
    of_low, of_high = score_at(torch.stack([low, high]), sampler)
    return of_low.maximum(of_high), high.where(of_high > of_low, low)


class _BlocksOfAxis(NamedTuple):
    """B blocks in one direction, each with R pixels; one that has fewer repeats its last.

    Attributes:
        points: (2, B) the points before and behind them.
        pixels: (R, B).
        weights: (2, R, B) of the points before and behind.
        counted: (R, B) bool, False of repetitions.
    """

    points: torch.Tensor
    pixels: torch.Tensor
    weights: torch.Tensor
    counted: torch.Tensor


@dataclass
class _Axis:
    """One direction of an output: h + 1 blocks and L pixels.

    Attributes:
        of_pixels: (L,) int64, the block of each pixel.
        has_pixels: (h + 1,) bool, whether a block has one.
        pixels, weights, counted: (..., h + 1) of :class:`_BlocksOfAxis`.
    """

    of_pixels: torch.Tensor
    has_pixels: torch.Tensor
    pixels: torch.Tensor
    weights: torch.Tensor
    counted: torch.Tensor

    @classmethod
    def of(cls, image_length: int, output_length: int, num_points: int) -> "_Axis":
        """On the CPU: thirty operations on little."""
        device = torch.device("cpu")
        point, weight = _positions(image_length, output_length, device)
        block = point + 1
        counts = block.new_zeros(num_points + 1).scatter_add(0, block, torch.ones_like(block))
        most = STRIDE  # of a graph for any size, which never sees an image smaller than the output
        if is_known((image_length, output_length)):
            most = -(-STRIDE * output_length // image_length)
        slot = torch.arange(most, device=device)[:, None]
        pixels = counts.cumsum(0) - counts + slot.minimum((counts - 1).clamp(min=0))
        pixels = pixels.clamp(max=output_length - 1)  # of blocks behind the last pixel
        weight = weight.index_select(0, pixels.flatten()).view_as(pixels)
        weights = torch.stack([1 - weight, weight])
        return cls(block, counts > 0, pixels, weights, slot < counts)

    def to(self, device: torch.device) -> "_Axis":
        return _Axis(
            *(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self))
        )

    def at(self, blocks: torch.Tensor) -> _BlocksOfAxis:
        """(B,) of them."""
        last = self.has_pixels.shape[0] - 2
        points = torch.stack([(blocks - 1).clamp(min=0), blocks.clamp(max=last)])
        tables = (self.pixels, self.weights, self.counted)
        return _BlocksOfAxis(points, *(table.index_select(-1, blocks) for table in tables))


def _positions(
    image_length: int, output_length: int, device: torch.device
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Of each pixel of the output the point before it, -1 where there is none, and the weight of the next.

    In fractions of integers, so that a map which covers the image exactly treats an output and its
    mirror image alike to the bit: the same points, and weights that add up to 1 without rounding.
    """
    # The position (pixel + 1/2) image_length / output_length / STRIDE - 1/2 in parts of 1 / unit.
    unit = 2 * STRIDE * output_length
    pixel = torch.arange(output_length, device=device)
    # One point farther: runtimes round negative fractions up.
    position = (2 * pixel + 1) * image_length + unit // 2
    next_point = position // unit
    rest = position - next_point * unit
    larger = 1 - torch.minimum(rest, unit - rest) / unit
    return next_point - 1, torch.where(2 * rest > unit, larger, 1 - larger)


def _neighbours(
    image_length: int, output_length: int, map_length: int, device: torch.device
) -> Tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Indices of the map points around each output pixel, and the weight of the second."""
    point, weight = _positions(image_length, output_length, device)
    first = point.clamp(0, map_length - 1)
    # The first itself where its weight is 0.
    second = (point + (weight > 0)).clamp(0, map_length - 1)
    return first, second, torch.where(first == second, 0.0, weight)


def resample(maps: torch.Tensor, image_size: Size, output_size: Size) -> torch.Tensor:
    """(C, h4, w4) stride-4 maps of an image of (h, w) -> (C, H, W) over the same image, bilinear."""
    y0, y1, wy = _neighbours(image_size[0], output_size[0], maps.shape[1], maps.device)
    x0, x1, wx = _neighbours(image_size[1], output_size[1], maps.shape[2], maps.device)
    rows = _mix(maps[:, y0], maps[:, y1], torch.stack([1 - wy, wy])[:, :, None])
    return _mix(rows[:, :, x0], rows[:, :, x1], torch.stack([1 - wx, wx]))


def upsample_logits(logits: torch.Tensor, image_size: Size, output_size: Size) -> torch.Tensor:
    """(C, h4, w4) stride-4 logits -> (C, H, W) by bilinear interpolation, padding cut off."""
    full = F.interpolate(logits[None], scale_factor=STRIDE, mode="bilinear", align_corners=False)
    full = full[:, :, : image_size[0], : image_size[1]]
    if tuple(image_size) != tuple(output_size):
        full = F.interpolate(full, size=output_size, mode="bilinear", align_corners=False)
    return full[0]
