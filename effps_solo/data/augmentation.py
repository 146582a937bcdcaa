"""Training and test augmentations as Detectron2 transforms."""

from typing import List, Tuple

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.data import transforms as T

from ..errors import ConfigError

VOID_PIXEL = 128.0  # grey, near the mean of every data set
PADDED_ID = 255  # Detectron2's value for segmentation maps outside the image


class RandomScale(T.Augmentation):
    """Scale the image by a random factor, drawn uniformly from ``scale_range``."""

    def __init__(self, scale_range: Tuple[float, float]) -> None:
        super().__init__()
        self._init({"scale_range": tuple(scale_range)})

    def get_transform(self, image: np.ndarray) -> T.Transform:
        scale = np.random.uniform(*self.scale_range)
        height, width = image.shape[:2]
        return T.ResizeTransform(
            height, width, max(1, round(height * scale)), max(1, round(width * scale))
        )


def build_augmentations(cfg: CfgNode, is_train: bool) -> List[T.Augmentation]:
    """The augmentations that ``INPUT.AUGMENTATION`` names.

    Raises:
        ConfigError: unknown name.
    """
    if cfg.INPUT.AUGMENTATION == "shortest_edge":
        augmentations = detection_utils.build_augmentation(cfg, is_train)
        if is_train and cfg.INPUT.CROP.ENABLED:
            augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
    elif cfg.INPUT.AUGMENTATION == "scale_crop":
        augmentations = _scale_crop(cfg) if is_train else _test_scale(cfg)
    else:
        raise ConfigError(
            f"INPUT.AUGMENTATION is '{cfg.INPUT.AUGMENTATION}'; choose scale_crop or shortest_edge"
        )
    return augmentations + (_color_jitter(cfg.INPUT.COLOR_JITTER) if is_train else [])


def _scale_crop(cfg: CfgNode) -> List[T.Augmentation]:
    augmentations: List[T.Augmentation] = [
        RandomScale(cfg.INPUT.SCALE_RANGE),
        T.FixedSizeCrop(cfg.INPUT.CROP_SIZE, pad_value=VOID_PIXEL, seg_pad_value=PADDED_ID),
    ]
    if cfg.INPUT.RANDOM_FLIP != "none":
        horizontal = cfg.INPUT.RANDOM_FLIP == "horizontal"
        augmentations.append(T.RandomFlip(horizontal=horizontal, vertical=not horizontal))
    return augmentations


def _test_scale(cfg: CfgNode) -> List[T.Augmentation]:
    scale = cfg.INPUT.TEST_SCALE
    return [] if scale == 1.0 else [RandomScale((scale, scale))]


def _color_jitter(strength: float) -> List[T.Augmentation]:
    if strength == 0:
        return []
    low, high = 1 - strength, 1 + strength
    return [
        T.RandomBrightness(low, high),
        T.RandomContrast(low, high),
        T.RandomSaturation(low, high),
    ]
