"""Rules for sizes: that at which the network sees an image, and that of the training crop.

All lengths in pixels; a frame is an image as the network sees it at test time.
"""

import math
from dataclasses import dataclass
from typing import List, Sequence, Tuple

import numpy as np

from .choice import Choice
from .fingerprint import Fingerprint, ImageFacts

# Six points of the stride-4 masks: smaller objects lose their shape.
SMALL_OBJECT = 24
SMALL_PERCENT = 25  # the share of objects that may be smaller
MAX_ENLARGEMENT = 2.0  # beyond it there is no more to see, and time goes with the square
# Of the shorter edges; images that differ more are brought to one size, for grids are numbers of cells.
MAX_SIZE_RATIO = 1.25
LARGE_EDGE = 1024  # shorter edges beyond it are reduced while objects stay large enough
MAX_FRAME_PIXELS = 1024 * 2048  # for enlarged images
CROP_PIXELS = {"cpu": 2**18, "cuda": 2**19}
DIVISOR = 32  # of the network's input

Size = Tuple[int, int]


@dataclass(frozen=True)
class Frame:
    """How images come to the network.

    Attributes:
        base_shortest_edge: INPUT.BASE_SHORTEST_EDGE.
        test_scale: INPUT.TEST_SCALE.
        size: (height, width) of the median image at test time.
        reason: of the two keys.
    """

    base_shortest_edge: int
    test_scale: float
    size: Size
    reason: str

    def factor(self, image_size: Sequence[int]) -> float:
        """By which an image is resized at test time."""
        base = self.base_shortest_edge
        return self.test_scale * (base / min(image_size) if base else 1.0)

    def sides(self, images: Sequence[ImageFacts]) -> np.ndarray:
        """sqrt(width * height) of the objects of all images, as the network sees them."""
        sides = (image.sides * self.factor(image.size) for image in images)
        return np.concatenate([np.zeros(0), *sides])

    def choices(self) -> List[Choice]:
        """The two keys."""
        edge = Choice("INPUT.BASE_SHORTEST_EDGE", self.base_shortest_edge, self.reason)
        return [edge, Choice("INPUT.TEST_SCALE", self.test_scale)]


def choose_frame(data: Fingerprint) -> Frame:
    """The size at which three quarters of the objects are :data:`SMALL_OBJECT` large, within limits."""
    edges = data.sizes.min(axis=1)
    edge = float(np.median(edges))
    low, high = np.percentile(edges, [5, 95])
    varies = bool(high > MAX_SIZE_RATIO * low)
    relative = [image.sides * (edge / min(image.size) if varies else 1) for image in data.images]
    sides = np.concatenate([np.zeros(0), *relative])
    height, width = np.median(data.sizes * (edge / edges[:, None] if varies else 1), axis=0)
    small = float(np.percentile(sides, SMALL_PERCENT)) if len(sides) else math.inf
    factor = _factor(small, edge, height * width)
    if varies:
        told = f"Images have shorter edges of {low:.0f} to {high:.0f} px, half of them below {edge:.0f}"
    else:
        told = f"Images have a shorter edge of {edge:.0f} px"
    if len(sides):
        told += f"; a quarter of the objects is smaller than {small:.0f} px" + " there" * varies
    if factor != 1:
        small_text = f", {small * factor:.0f} px then" if len(sides) else ""
        verb = "enlarged" if factor > 1 else "reduced"
        told += f". They are {verb} {factor:.2f} times{small_text} (wanted: {SMALL_OBJECT})"
    size = (round(height * factor), round(width * factor))
    if varies or factor < 1:
        base = _multiple(edge * factor)
        return Frame(base, 1.0, size, f"{told}. One size for all: grids are numbers of cells.")
    return Frame(0, factor, size, f"{told}.")


def _factor(small: float, edge: float, pixels: float) -> float:
    wanted = SMALL_OBJECT / small
    if wanted > 1:
        affordable = math.sqrt(MAX_FRAME_PIXELS / pixels)
        return max(
            1.0, min(math.ceil(4 * wanted) / 4, MAX_ENLARGEMENT, math.floor(4 * affordable) / 4)
        )
    return min(1.0, max(wanted, LARGE_EDGE / edge))


def _multiple(length: float) -> int:
    return max(DIVISOR, DIVISOR * round(length / DIVISOR))


def padded(size: Sequence[float]) -> Size:
    """The smallest size in multiples of 32 that holds ``size``: what the network gets."""
    height, width = (DIVISOR * math.ceil(side / DIVISOR) for side in size)
    return height, width


def choose_crop(frame: Frame, max_pixels: int) -> Tuple[Size, Choice]:
    """The whole frame, or as much of it as ``max_pixels`` allow, in its proportions."""
    height, width = padded(frame.size)
    shrink = math.sqrt(max_pixels / (height * width))
    if shrink >= 1:
        reason = f"A whole image of {frame.size[0]}x{frame.size[1]} px, in multiples of {DIVISOR}."
        return (height, width), Choice("INPUT.CROP_SIZE", (height, width), reason)
    crop = _multiple(height * shrink), _multiple(width * shrink)
    share = 100 * crop[0] * crop[1] / (height * width)
    reason = (
        f"About {max_pixels // 1024} Ki pixels for the time and memory of a step: {share:.0f} % of an "
        f"image of {frame.size[0]}x{frame.size[1]} px."
    )
    return crop, Choice("INPUT.CROP_SIZE", crop, reason)
