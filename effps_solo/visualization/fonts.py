"""Fonts for pictures."""

import importlib.util
from functools import lru_cache
from typing import Iterable, Tuple

from PIL import ImageFont

_FONT_SIZE = 1 / 55  # in shorter sides of the picture
_FONT_SIZES = (11, 28)  # pixels, at least and at most


def font_for(size: Tuple[int, int], names: Iterable[str]) -> ImageFont.FreeTypeFont:
    """For these names in a picture of (H, W)."""
    smallest, largest = _FONT_SIZES
    pixels = min(max(round(min(size) * _FONT_SIZE), smallest), largest)
    return _font_of_size(pixels, all(name.isascii() for name in names))


@lru_cache(maxsize=32)
def _font_of_size(pixels: int, ascii_alone: bool) -> ImageFont.FreeTypeFont:
    """Pillow's own, which has nothing but ASCII; for the rest matplotlib's, where it is installed."""
    if not ascii_alone and importlib.util.find_spec("matplotlib"):
        return dejavu_sans(pixels)
    font = ImageFont.load_default(pixels)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's own, with FreeType
    return font


@lru_cache(maxsize=32)
def dejavu_sans(pixels: int) -> ImageFont.FreeTypeFont:
    """The font that comes with matplotlib, which has the letters of most scripts."""
    # Takes half a second, and is no part of small installations.
    from matplotlib import font_manager

    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), pixels)
