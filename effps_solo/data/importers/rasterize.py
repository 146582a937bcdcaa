"""From the shapes of annotation tools to masks. H x W pixels of the image.

Two conventions of what a coordinate means: in COCO and its kin a pixel is a square whose upper left corner
has whole coordinates, and belongs to a polygon as pycocotools says; in labelme and Cityscapes whole
coordinates are those of pixels, and the outline belongs to a polygon, as Pillow draws it.
"""

import base64
import io
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import numpy as np
import pycocotools.mask as mask_util
from PIL import Image, ImageDraw

from effps_solo.utils.image_io import UNREADABLE

from .geometry import (
    FaultyShapeError,
    NoAreaError,
    Size,
    expand_runs,
    mask_of_runs,
    plausible_rings,
    require_plausible,
    rings_of,
    run_lengths,
    short,
)

CORNERS, CENTERS = "corners", "centers"  # of pixels have whole coordinates

Window = Tuple[int, int, int, int]  # x, y of the first pixel, width, height


class Mask(NamedTuple):
    """A mask in a window of the image, compressed.

    Attributes:
        corner: x, y of its first pixel in the image.
        rle: as pycocotools has it, of the window.
        area: number of pixels, at least 1.
    """

    corner: Tuple[int, int]
    rle: Dict[str, Any]
    area: int

    def pixels(self) -> np.ndarray:
        """(h, w) bool."""
        pixels: np.ndarray = mask_util.decode(self.rle).astype(bool)
        return pixels

    def full(self, size: Size) -> np.ndarray:
        """(H, W) bool, the mask in its image."""
        pixels = np.zeros(size, dtype=bool)
        (x, y), (height, width) = self.corner, self.rle["size"]
        pixels[y : y + height, x : x + width] = self.pixels()
        return pixels


def rasterize(kind: str, data: Any, size: Size, convention: str) -> Mask:
    """The mask of a shape.

    Args:
        kind: one of :data:`KINDS`.
        data: what this kind needs.
        convention: CORNERS or CENTERS.

    Raises:
        FaultyShapeError: the shape cannot be meant. Nothing was drawn then.
        NoAreaError: it has no area by its kind, or no pixel in the image.
    """
    if kind not in KINDS:
        raise NoAreaError(f"of the kind '{kind}', which has no area")
    pixels, corner = KINDS[kind](data, size, convention)
    if not pixels.any():
        raise NoAreaError("without a pixel in the image")
    rows, columns = (np.flatnonzero(pixels.any(axis=axis)) for axis in (1, 0))
    y, x = int(rows[0]), int(columns[0])
    pixels = np.asfortranarray(pixels[y : rows[-1] + 1, x : columns[-1] + 1], dtype=np.uint8)
    corner = (corner[0] + x, corner[1] + y)
    return Mask(corner, mask_util.encode(pixels), int(pixels.sum(dtype=np.int64)))


Drawn = Tuple[np.ndarray, Tuple[int, int]]  # (h, w) bool or uint8, and the corner of the window


def _polygon(points: Any, size: Size, convention: str) -> Drawn:
    """The union of polygons."""
    return _fill(plausible_rings(points, size), size, convention)


def _rectangle(points: Any, size: Size, convention: str) -> Drawn:
    """Two opposite corners, whichever; or all of them, of a rectangle that may be turned."""
    rings = rings_of(points)
    if len(rings) != 1 or len(rings[0]) != 2:
        return _polygon(points, size, convention)
    require_plausible(rings[0], size)
    (x0, y0), (x1, y1) = rings[0].min(axis=0), rings[0].max(axis=0)
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    return _fill([corners], size, convention)


def _circle(points: Any, size: Size, convention: str) -> Drawn:
    """Its center and a point of its rim."""
    rings = rings_of(points)
    if len(rings) != 1 or len(rings[0]) != 2:
        raise NoAreaError("of the kind 'circle' without two points")
    require_plausible(rings[0], size)
    center, rim = rings[0] - (0.5 if convention == CORNERS else 0)
    radius = np.hypot(*(rim - center))
    box = np.array([center - radius, center + radius])
    return _draw(_window(box, size), lambda draw: draw.ellipse(_points(box), fill=1))


def _fill(rings: List[np.ndarray], size: Size, convention: str) -> Drawn:
    window = _window(np.concatenate(rings), size)
    if convention == CENTERS:

        def draw_all(draw: ImageDraw.ImageDraw) -> None:
            for ring in rings:
                draw.polygon(_points(ring), fill=1)

        return _draw(window, draw_all)
    x, y, width, height = window
    flat = [(ring - (x, y)).ravel().tolist() for ring in rings]
    return mask_util.decode(mask_util.merge(mask_util.frPyObjects(flat, height, width))), (x, y)


def _window(points: np.ndarray, size: Size) -> Window:
    """The part of the image that (N, 2) points can touch."""
    height, width = size
    x0, y0 = np.floor(points.min(axis=0)).clip(0, (width, height)).astype(int).tolist()
    x1, y1 = (np.floor(points.max(axis=0)) + 2).clip(0, (width, height)).astype(int).tolist()
    if x0 >= x1 or y0 >= y1:
        raise NoAreaError("without a pixel in the image")
    return x0, y0, x1 - x0, y1 - y0


def _draw(window: Window, draw_on: Callable[[ImageDraw.ImageDraw], None]) -> Drawn:
    """What Pillow draws, whose rounding depends on where a shape lies: it is not moved."""
    x, y, width, height = window
    image = Image.new("L", (x + width, y + height))
    draw_on(ImageDraw.Draw(image))
    return np.asarray(image)[y:, x:], (x, y)


def _points(points: np.ndarray) -> List[Tuple[float, float]]:
    return [(x, y) for x, y in points.tolist()]


def _segmentation(data: Any, size: Size, convention: str) -> Drawn:
    """COCO's: polygons, run lengths of the image, or a list of these, whose union is meant."""
    parts = data if isinstance(data, list) else [data]
    if not data or all(part == [] for part in parts):
        raise NoAreaError("without a mask")
    if not any(isinstance(part, dict) and "x" not in part for part in parts):
        return _polygon(data, size, convention)
    pixels = np.zeros(size, dtype=bool)
    for part in parts:
        pixels |= mask_of_runs(part, size)
    return pixels, (0, 0)


def _png(data: Any, size: Size, convention: str) -> Drawn:
    """A PNG as base64, and the point (x, y) of its first pixel."""
    text, points = data
    rings = rings_of(points)
    if len(rings) != 1:
        raise FaultyShapeError(f"its mask has the points {short(points)} instead of two corners")
    require_plausible(rings[0], size)
    x, y = np.round(rings[0][0]).astype(int).tolist()
    try:
        with Image.open(io.BytesIO(base64.b64decode(text))) as image:
            if image.height > size[0] or image.width > size[1]:
                raise FaultyShapeError(
                    f"its mask has {image.width}x{image.height} pixels, its image "
                    f"{size[1]}x{size[0]}"
                )
            mask = np.asarray(image.convert("L")) > 0
    except FaultyShapeError:
        raise
    except (*UNREADABLE, TypeError) as error:
        raise FaultyShapeError(f"its mask is no PNG as base64 ({error})") from error
    return _inside(mask, (x, y), size)


def _runs(data: Any, size: Size, convention: str) -> Drawn:
    """Run lengths of False and True by turns, row by row, in a box (x, y, width, height)."""
    counts, box = data
    first = np.array(box[:2], dtype=np.float64)
    require_plausible(np.stack([first, first + box[2:]]), size)
    x, y, width, height = np.round(np.array(box)).astype(int).tolist()
    if width < 0 or height < 0 or width > size[1] or height > size[0]:
        raise FaultyShapeError(
            f"its mask has {width}x{height} pixels, its image {size[1]}x{size[0]}"
        )
    lengths = run_lengths(counts)
    total = int(lengths.sum(dtype=np.float64))
    if total != width * height:
        raise FaultyShapeError(
            f"its run lengths sum to {total}, its box has {width}x{height} pixels"
        )
    return _inside(expand_runs(lengths).reshape(height, width), (x, y), size)


def _mask(data: Any, size: Size, convention: str) -> Drawn:
    """A (h, w) mask, and the point (x, y) of its first pixel."""
    mask, corner = data
    return _inside(mask, corner, size)


def _inside(mask: np.ndarray, corner: Tuple[int, int], size: Size) -> Drawn:
    """The part of a mask that lies in the image."""
    x, y = corner
    rows = slice(max(0, -y), max(0, size[0] - y))
    columns = slice(max(0, -x), max(0, size[1] - x))
    return mask[rows, columns], (max(x, 0), max(y, 0))


KINDS: Dict[str, Callable[[Any, Size, str], Drawn]] = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "circle": _circle,
    "segmentation": _segmentation,
    "png": _png,
    "runs": _runs,
    "mask": _mask,
}
"""What a shape can be; the functions say what data each needs."""
