"""Training and test augmentations as Detectron2 transforms."""

import math
from functools import partial
from typing import List, Optional, Tuple

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from PIL import Image, ImageEnhance

from effps_solo.utils.errors import ConfigError

VOID_PIXEL = 128.0  # grey, near the mean of every data set
PADDED_ID = 255  # Detectron2's value for segmentation maps outside the image


class RandomScale(T.Augmentation):
    """Scale the image by a random factor, drawn uniformly from ``scale_range``.

    The factor counts from the size at which the image just fits into ``fit_size`` (height, width), else
    from that at which its shorter edge has ``base_shortest_edge`` pixels, else (0) from its own size.
    """

    def __init__(
        self,
        scale_range: Tuple[float, float],
        base_shortest_edge: int = 0,
        fit_size: Optional[Tuple[int, int]] = None,
    ) -> None:
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> T.Transform:
        scale = np.random.uniform(*self.scale_range)
        height, width = image.shape[:2]
        if self.fit_size:
            scale *= min(self.fit_size[0] / height, self.fit_size[1] / width)
        elif self.base_shortest_edge:
            scale *= self.base_shortest_edge / min(height, width)
        # Halves up, as Detectron2, and as a graph for images of any size.
        new_height, new_width = (max(1, int(side * scale + 0.5)) for side in (height, width))
        return T.ResizeTransform(height, width, new_height, new_width)


class CropAtObject(T.Augmentation):
    """With probability ``prob`` crop to a window of ``crop_size`` that holds a random object.

    The window lies anywhere around the whole object, or around its centre if the object is larger.
    An image without objects and a smaller one stay as they are. Needs the boxes of the objects.
    """

    def __init__(self, crop_size: Tuple[int, int], prob: float) -> None:
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray, boxes: np.ndarray) -> T.Transform:
        if len(boxes) == 0 or np.random.uniform() >= self.prob:
            return T.NoOpTransform()
        x0, y0, x1, y1 = boxes[np.random.randint(len(boxes))]
        height, width = image.shape[:2]
        rows, columns = min(self.crop_size[0], height), min(self.crop_size[1], width)
        left, top = _window_start(x0, x1, columns, width), _window_start(y0, y1, rows, height)
        return T.CropTransform(left, top, columns, rows, width, height)


class RandomWindow(T.FixedSizeCrop):
    """``FixedSizeCrop`` whose windows lie anywhere: Detectron2's draws one number for both directions,
    so that they lie on the diagonal, and two corners of a large image are never seen.
    """

    def _get_crop(self, image: np.ndarray) -> T.Transform:
        (height, width), (rows, columns) = image.shape[:2], self.crop_size
        top = np.random.randint(max(height - rows, 0) + 1)
        left = np.random.randint(max(width - columns, 0) + 1)
        return T.CropTransform(left, top, columns, rows, width, height)


class ColorJitter(T.Augmentation):
    """Brightness, contrast and saturation, in this order, each times a factor of its own in [low, high].

    By Pillow, which needs an eighth of the time of Detectron2's three; they differ by rounding, and in
    the grey towards which contrast goes: that of the mean luma, not of the mean of all channels.
    """

    def __init__(self, low: float, high: float, image_format: str) -> None:
        """``image_format`` is the order of the channels, whose luma differs: "RGB" or "BGR"."""
        super().__init__()
        self._init(locals())

    def get_transform(self, image: np.ndarray) -> T.Transform:
        factors = np.random.uniform(self.low, self.high, 3)
        return T.PILColorTransform(partial(_enhanced, factors, self.image_format == "BGR"))


def _enhanced(factors: np.ndarray, is_bgr: bool, image: Image.Image) -> Image.Image:
    image = _turned(image) if is_bgr else image
    enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    for enhancer, factor in zip(enhancers, factors):
        image = enhancer(image).enhance(factor)
    return _turned(image) if is_bgr else image


def _turned(image: Image.Image) -> Image.Image:
    """BGR <-> RGB; Pillow takes every image for RGB."""
    return Image.merge("RGB", image.split()[::-1])


def _window_start(low: float, high: float, window: int, length: int) -> int:
    """Random first pixel of a window in 0 .. ``length`` that holds [low, high], or its middle."""
    if high - low > window:
        low = high = (low + high) / 2
    first, last = max(0, math.ceil(high) - window), min(length - window, math.floor(low))
    return int(np.random.randint(first, max(first, last) + 1))


def build_augmentations(cfg: CfgNode, is_train: bool) -> List[T.Augmentation]:
    """The augmentations that ``INPUT.AUGMENTATION`` names; ConfigError when it names none."""
    if cfg.INPUT.AUGMENTATION == "shortest_edge":
        augmentations = detection_utils.build_augmentation(cfg, is_train)
        if is_train and cfg.INPUT.CROP.ENABLED:
            augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
    elif cfg.INPUT.AUGMENTATION in ("scale_crop", "large_scale_jitter"):
        augmentations = _scale_crop(cfg) if is_train else _test_scale(cfg)
    else:
        raise ConfigError(
            f"INPUT.AUGMENTATION is '{cfg.INPUT.AUGMENTATION}'; choose scale_crop, "
            "large_scale_jitter or shortest_edge"
        )
    strength = cfg.INPUT.COLOR_JITTER
    if is_train and strength > 0:
        augmentations.append(ColorJitter(1 - strength, 1 + strength, cfg.INPUT.FORMAT))
    return augmentations


def _scale_crop(cfg: CfgNode) -> List[T.Augmentation]:
    augmentations: List[T.Augmentation] = [
        _scale(cfg, cfg.INPUT.SCALE_RANGE),
        RandomWindow(cfg.INPUT.CROP_SIZE, pad_value=VOID_PIXEL, seg_pad_value=PADDED_ID),
    ]
    if cfg.INPUT.CROP_OBJECT_PROB > 0:
        augmentations.insert(1, CropAtObject(cfg.INPUT.CROP_SIZE, cfg.INPUT.CROP_OBJECT_PROB))
    if cfg.INPUT.RANDOM_FLIP != "none":
        horizontal = cfg.INPUT.RANDOM_FLIP == "horizontal"
        augmentations.append(T.RandomFlip(horizontal=horizontal, vertical=not horizontal))
    return augmentations


def _test_scale(cfg: CfgNode) -> List[T.Augmentation]:
    augmentation = _scale(cfg, (cfg.INPUT.TEST_SCALE, cfg.INPUT.TEST_SCALE))
    own_size = not (augmentation.fit_size or augmentation.base_shortest_edge)
    return [] if own_size and cfg.INPUT.TEST_SCALE == 1.0 else [augmentation]


def _scale(cfg: CfgNode, scale_range: Tuple[float, float]) -> RandomScale:
    if cfg.INPUT.AUGMENTATION == "large_scale_jitter":
        return RandomScale(scale_range, fit_size=tuple(cfg.INPUT.CROP_SIZE))
    return RandomScale(scale_range, cfg.INPUT.BASE_SHORTEST_EDGE)
