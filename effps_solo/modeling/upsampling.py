"""From the network's frame to the output's frame.

The network sees an image of (h, w) pixels, padded; its maps have stride 4: point (i, j) of a map lies
at pixel (4 i + 2, 4 j + 2). The output has (H, W) pixels. Either frame has its origin in the corner of
the first pixel, and pixel centres at halves.
"""

from dataclasses import dataclass
from typing import Callable, Sequence, Tuple

import torch
import torch.nn.functional as F

from .execution import works_in_parts
from .pixel_labels import Size, UpsampledLabels, at_points

STRIDE = 4
CONTESTED_CHUNK = 2**16  # pixels that are interpolated at once
# Indices of the map points around each output row or column, and the weight of the second.
Neighbours = Tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def stride4_size(image_size: Size) -> Size:
    """Rows and columns of the stride-4 map that cover an image of (h, w)."""
    return -(-image_size[0] // STRIDE), -(-image_size[1] // STRIDE)


@dataclass
class PointSampler:
    """Bilinear samples of stride-4 maps at P points of the output, each in a channel of its own.

    Attributes:
        corners: (4, P) int64, the surrounding points of the maps as y * w + x: upper left, upper
            right, lower left, lower right.
        wy, wx: (P,) weights of the lower and of the right ones.
    """

    corners: torch.Tensor
    wy: torch.Tensor
    wx: torch.Tensor

    @classmethod
    def at(
        cls, rows: Neighbours, columns: Neighbours, y: torch.Tensor, x: torch.Tensor, width: int
    ) -> "PointSampler":
        """Of the pixels y, x (P,) of the output.

        Args:
            rows, columns: of all rows and all columns of the output, see :func:`_neighbours`.
            width: of the maps.
        """
        top, low = (index.index_select(0, y) * width for index in rows[:2])
        left, right = (index.index_select(0, x) for index in columns[:2])
        corners = torch.stack([top + left, top + right, low + left, low + right])
        return cls(corners, rows[2].index_select(0, y), columns[2].index_select(0, x))

    def __call__(self, maps: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
        """(C, h4, w4) maps and (P,) channel indices -> (P,) samples."""
        index = self.corners + channels * (maps.shape[1] * maps.shape[2])
        return self.mixed(maps.flatten().index_select(0, index.flatten()).unflatten(0, (4, -1)))

    def mixed(self, values: torch.Tensor) -> torch.Tensor:
        """(4, P) values at the corners -> (P,) samples."""
        upper, lower = _mix(values[0], values[1], self.wx), _mix(values[2], values[3], self.wx)
        return _mix(upper, lower, self.wy)

    def __getitem__(self, index: torch.Tensor) -> "PointSampler":
        """The sampler of some of the points."""
        corners = self.corners.index_select(1, index)
        return PointSampler(corners, self.wy.index_select(0, index), self.wx.index_select(0, index))


def _mix(first: torch.Tensor, second: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Interpolation; torch.lerp rounds differently when its ends are swapped."""
    return first * (1 - weight) + second * weight


# (channels (P,), sampler of P points) -> scores (P,)
ScoreAt = Callable[[torch.Tensor, PointSampler], torch.Tensor]
# sampler of P points -> labels (P,)
LabelAt = Callable[[PointSampler], torch.Tensor]


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

    Where the four surrounding points have one label, which is nearly everywhere, so has the pixel.

    Args:
        labels: (h4, w4) integers of the stride-4 points.
        image_size: (h, w) of the network's frame, without padding.
        output_size: (H, W).
        label_at: decides everywhere else.

    Returns:
        (H, W) in the type of ``labels``.
    """
    rows = _neighbours(image_size[0], output_size[0], labels.shape[0], labels.device)
    columns = _neighbours(image_size[1], output_size[1], labels.shape[1], labels.device)
    y0, x0 = rows[0], columns[0]
    contested = _between_rivals(labels)
    pixels = at_points(contested, y0, x0).flatten().nonzero()[:, 0]
    decided = []
    for some in _chunks(pixels):
        y = some // output_size[1]
        x = some - y * output_size[1]  # no remainder: see best_channel
        decided.append(label_at(PointSampler.at(rows, columns, y, x, labels.shape[1])))
    return UpsampledLabels(labels, contested, y0, x0, pixels, torch.cat(decided).to(labels.dtype))


def _chunks(pixels: torch.Tensor) -> Sequence[torch.Tensor]:
    """Parts whose interpolation stays in a CPU's caches; elsewhere one part."""
    return pixels.split(CONTESTED_CHUNK) if works_in_parts(pixels) else [pixels]


def _between_rivals(labels: torch.Tensor) -> torch.Tensor:
    """(h4, w4) bool: whether the points (i, j) .. (i + 1, j + 1) have different labels."""
    right = torch.cat([labels[:, 1:], labels[:, -1:]], dim=1)
    below = torch.cat([labels[1:], labels[-1:]])
    diagonal = torch.cat([right[1:], right[-1:]])
    return (right != labels) | (below != labels) | (diagonal != labels)


def best_channel(winner: torch.Tensor, sampler: PointSampler, score_at: ScoreAt) -> torch.Tensor:
    """(P,) int64: of the channels that win at the points around each pixel the best there.

    The lowest of equals; a channel that wins only between the points could be missed in theory. Most
    pixels have two channels to choose from: each is looked at once.

    Args:
        winner: (h4, w4) int64, the winner of each stride-4 point.
        sampler: of P pixels.
        score_at: the scores of given channels at given points.
    """
    candidates = winner.flatten().index_select(0, sampler.corners.flatten()).unflatten(0, (4, -1))
    first, second, third, fourth = candidates
    differ = [other != first for other in candidates[1:]]
    new = [
        differ[0] | differ[1] | differ[2],  # else there is no choice
        differ[0],
        differ[1] & (third != second),
        differ[2] & (fourth != second) & (fourth != third),
    ]
    flat = candidates.flatten()
    chosen = torch.cat(new).nonzero()[:, 0]
    # No remainder: ONNX has none of a number that is not known at export.
    point = torch.arange(candidates.shape[1], device=flat.device).repeat(4)
    values = score_at(flat.index_select(0, chosen), sampler[point.index_select(0, chosen)])
    scores = torch.full(flat.shape, -torch.inf, device=flat.device)
    scores = scores.scatter(0, chosen, values.to(scores.dtype)).view_as(candidates)
    best, channel = scores[0], first
    for other_score, other in zip(scores[1:], candidates[1:]):
        better = (other_score > best) | ((other_score == best) & (other < channel))
        best, channel = best.maximum(other_score), other.where(better, channel)
    return channel


def _neighbours(
    image_length: int, output_length: int, map_length: int, device: torch.device
) -> Neighbours:
    """Indices of the map points around each output pixel, and the weight of the second.

    In fractions of integers, so that a map which covers the image exactly treats an output and its
    mirror image alike to the bit: the same points, and weights that add up to 1 without rounding.
    """
    # The position (pixel + 1/2) image_length / output_length / STRIDE - 1/2 in parts of 1 / unit.
    unit = 2 * STRIDE * output_length
    pixel = torch.arange(output_length, device=device)
    position = (2 * pixel + 1) * image_length - unit // 2
    position = position.clamp(0, (map_length - 1) * unit)
    first = position // unit
    rest = position - first * unit
    second = first + (rest > 0)  # the first itself where its weight is 0
    larger = 1 - torch.minimum(rest, unit - rest) / unit
    return first, second, torch.where(2 * rest > unit, larger, 1 - larger)


def resample(maps: torch.Tensor, image_size: Size, output_size: Size) -> torch.Tensor:
    """(C, h4, w4) stride-4 maps of an image of (h, w) -> (C, H, W) over the same image, bilinear."""
    y0, y1, wy = _neighbours(image_size[0], output_size[0], maps.shape[1], maps.device)
    x0, x1, wx = _neighbours(image_size[1], output_size[1], maps.shape[2], maps.device)
    rows = _mix(maps[:, y0], maps[:, y1], wy[:, None])
    return _mix(rows[:, :, x0], rows[:, :, x1], wx)


def upsample_logits(logits: torch.Tensor, image_size: Size, output_size: Size) -> torch.Tensor:
    """(C, h4, w4) stride-4 logits -> (C, H, W) by bilinear interpolation, padding cut off."""
    full = F.interpolate(logits[None], scale_factor=STRIDE, mode="bilinear", align_corners=False)
    full = full[:, :, : image_size[0], : image_size[1]]
    if tuple(image_size) != tuple(output_size):
        full = F.interpolate(full, size=output_size, mode="bilinear", align_corners=False)
    return full[0]
