"""The images that everything is measured on."""

from pathlib import Path
from typing import List, Sequence, Tuple

import numpy as np
from PIL import Image, ImageDraw

from effps_solo.utils.image_io import read_image

NUM_SYNTHETIC = 3
_NUM_SHAPES = 24
_NOISE = 24  # standard deviation of grey values
_EXIF_ORIENTATION = 0x0112


def synthetic_image(size: Tuple[int, int], seed: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB: rectangles and ellipses on a gradient under noise."""
    height, width = size
    random = np.random.default_rng(seed)
    gradient = np.linspace(60, 200, height).astype(np.uint8)
    image = Image.fromarray(np.broadcast_to(gradient[:, None, None], (height, width, 3)).copy())
    draw = ImageDraw.Draw(image)
    for number in range(_NUM_SHAPES):
        x, y = random.uniform(0, width), random.uniform(0, height)
        dx, dy = random.uniform(0.02, 0.15, 2) * height
        box = (x - dx, y - dy, x + dx, y + dy)
        color = tuple(int(c) for c in random.integers(0, 256, 3))
        (draw.ellipse if number % 2 else draw.rectangle)(box, fill=color)
    noise = random.normal(0, _NOISE, (height, width, 3))
    return np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)


def make_images(folder: Path, size: Tuple[int, int], inputs: Sequence[Path]) -> List[str]:
    """Paths of images of (H, W), some of them written to ``folder``.

    Args:
        inputs: images of any size; empty: synthetic ones.

    Raises:
        ImageError: one cannot be read.
    """
    if not inputs:
        return [_save(synthetic_image(size, k), folder / f"{k}.png") for k in range(NUM_SYNTHETIC)]
    paths = []
    for number, path in enumerate(inputs):
        pixels = read_image(path, "RGB")
        if _is_plain(path) and pixels.shape[:2] == size:
            paths.append(str(path.resolve()))
            continue
        resized = Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        paths.append(_save(np.asarray(resized), folder / f"{number}.png"))
    return paths


def size_of(path: Path) -> Tuple[int, int]:
    """(H, W) of an image. Raises ImageError."""
    height, width = read_image(path, "RGB").shape[:2]
    return height, width


def _is_plain(path: Path) -> bool:
    """Whether every program that reads the file sees the same."""
    with Image.open(path) as image:
        return image.mode == "RGB" and image.getexif().get(_EXIF_ORIENTATION, 1) == 1


def _save(pixels: np.ndarray, path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return str(path)
