"""Layers: one labelled polygon with the pixels that belong below it, and how they are stacked.

A layer's pixels are laid through a mask that Pillow draws from the same integer polygon from which
the label images are drawn later, so that picture and label cannot disagree by a single pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import cv2
import numpy as np
from PIL import Image, ImageDraw

FIXED_POINT_BITS = 4
OUTLINE_TOLERANCE = 0.5
"""How far (px) a simplified outline may leave the drawn one."""

Window = tuple[int, int, int, int]
"""Left, top, right, bottom; the last two are excluded."""

Paint = Callable[[], "tuple[np.ndarray, np.ndarray | None]"]


@dataclass
class Layer:
    """One object of a picture, later layers cover earlier ones.

    `paint` returns `rgb` (h,w,3) in 0..255 and `alpha` (h,w) float32 (None = opaque) of the
    `window`; it is only called for what is seen. Outside the polygon nothing of them shows.
    """

    label: str
    polygon: list[tuple[int, int]]  # (column, row), inside the window
    window: Window
    paint: Paint | None  # None: has no pixels of its own
    opaque: bool = True
    item: int = -1  # index of the scene item it shows, -1 = background


def fixed_points(points: np.ndarray) -> np.ndarray:
    """Returns pixel positions (N,2) as the fixed-point numbers that OpenCV draws from."""
    return np.rint(points * (1 << FIXED_POINT_BITS)).clip(-(2**20), 2**20).astype(np.int32)


def fill_polygon(mask: np.ndarray, polygon: np.ndarray, value: int = 1) -> None:
    """Fills a polygon (N,2) of pixel positions in a uint8 mask, in place."""
    cv2.fillPoly(mask, [fixed_points(polygon)], value, cv2.LINE_8, FIXED_POINT_BITS)


def outlines(mask: np.ndarray, left: int, top: int, smallest: int) -> list[list[tuple[int, int]]]:
    """Returns the outer outlines of a uint8 mask as picture polygons, the largest first.

    Outlines whose bounding box has fewer than `smallest` pixels are left out.
    """
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    kept = []
    for contour in contours:
        _, _, width, height = cv2.boundingRect(contour)
        if width * height < smallest:
            continue
        points = cv2.approxPolyDP(contour, OUTLINE_TOLERANCE, True).reshape(-1, 2)
        if len(points) < 3:
            points = contour.reshape(-1, 2)
        if len(points) >= 3:
            kept.append((cv2.contourArea(contour), points + (left, top)))
    kept.sort(key=lambda pair: -pair[0])
    return [[(int(x), int(y)) for x, y in points] for _, points in kept]


def draw_mask(
    polygon: list[tuple[int, int]], width: int, height: int, window: Window | None = None
) -> np.ndarray:
    """Returns (height, width) bool, or the window of it: the pixels that Pillow's polygon fills.

    It is always drawn in the frame of the whole picture: Pillow rounds an edge differently when
    the polygon is moved.
    """
    image = Image.new("L", (width, height), 0)
    ImageDraw.Draw(image).polygon(polygon, fill=1)
    return np.asarray(image.crop(window) if window else image).astype(bool)


def draw_index_map(layers: list[Layer], width: int, height: int) -> np.ndarray:
    """Returns (height, width) int32: which layer shows at each pixel, -1 where none does."""
    image = Image.new("I", (width, height), -1)
    drawer = ImageDraw.Draw(image)
    for index, layer in enumerate(layers):
        drawer.polygon(layer.polygon, fill=index)
    return np.array(image)


def lay(canvas: np.ndarray, layer: Layer) -> None:
    """Paints a layer, if it has pixels, into the float32 canvas (H,W,3), in place."""
    if layer.paint is None:
        return
    left, top, right, bottom = layer.window
    mask = draw_mask(layer.polygon, canvas.shape[1], canvas.shape[0], layer.window)
    target = canvas[top:bottom, left:right]
    rgb, alpha = layer.paint()
    if alpha is None:
        np.copyto(target, rgb, where=mask[..., None])
    else:
        target += (alpha * mask)[..., None] * (rgb - target)
