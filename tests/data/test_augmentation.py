"""Sizes, values and switches of the augmentations."""

from typing import List, Tuple
from unittest import mock

import numpy as np
import pytest
from detectron2.config import CfgNode, get_cfg
from detectron2.data import transforms as T

from effps_solo import add_effps_solo_config
from effps_solo.data.augmentation import (
    PADDED_ID,
    VOID_PIXEL,
    ColorJitter,
    CropAtObject,
    RandomScale,
    RandomWindow,
    build_augmentations,
)
from effps_solo.utils.errors import ConfigError


@pytest.fixture
def cfg() -> CfgNode:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.INPUT.CROP_SIZE = (48, 80)
    return cfg


def apply(
    augmentations: List[T.Augmentation], size: Tuple[int, int]
) -> Tuple[np.ndarray, np.ndarray]:
    """An image of noise and a map of ones after the augmentations."""
    noise = np.random.default_rng(0).integers(0, 120, (*size, 3), dtype=np.uint8)
    data = T.AugInput(noise, sem_seg=np.ones(size, dtype=np.uint8))
    T.AugmentationList(augmentations)(data)
    return data.image, data.sem_seg


@pytest.mark.parametrize("scale, expected", [(0.5, (20, 31)), (1.0, (40, 61)), (1.5, (60, 92))])
def test_scale_of_both_sides(scale: float, expected: Tuple[int, int]) -> None:
    image, labels = apply([RandomScale((scale, scale))], (40, 61))
    assert image.shape == (*expected, 3) and labels.shape == expected


def test_a_small_image_keeps_a_pixel() -> None:
    image, _ = apply([RandomScale((0.1, 0.1))], (2, 30))
    assert image.shape == (1, 3, 3)


def test_scales_cover_their_range() -> None:
    np.random.seed(0)
    source = np.zeros((100, 100, 3), np.uint8)
    heights = [RandomScale((0.5, 2.0)).get_transform(source).new_h for _ in range(300)]
    assert 50 <= min(heights) < 60 and 190 < max(heights) <= 200


@pytest.mark.parametrize("size", [(20, 200), (48, 80), (200, 20), (300, 400), (7, 5)])
def test_scale_crop_always_gives_the_crop(cfg: CfgNode, size: Tuple[int, int]) -> None:
    np.random.seed(1)
    for _ in range(5):
        image, labels = apply(build_augmentations(cfg, is_train=True), size)
        assert image.shape == (48, 80, 3) and image.dtype == np.uint8
        assert labels.shape == (48, 80)
        assert (labels == 1).any()


def test_padding_is_void(cfg: CfgNode) -> None:
    cfg.INPUT.SCALE_RANGE = (1.0, 1.0)
    cfg.INPUT.RANDOM_FLIP = "none"
    image, labels = apply(build_augmentations(cfg, is_train=True), (30, 60))
    assert (labels[:30, :60] == 1).all()
    outside = np.ones((48, 80), dtype=bool)
    outside[:30, :60] = False
    assert (labels[outside] == PADDED_ID).all() and (image[outside] == VOID_PIXEL).all()
    assert image[:30, :60].max() < VOID_PIXEL


@pytest.mark.parametrize(
    "flip, horizontal", [("horizontal", True), ("vertical", False), ("none", None)]
)
def test_flip(cfg: CfgNode, flip: str, horizontal: object) -> None:
    cfg.INPUT.RANDOM_FLIP = flip
    flips = [a for a in build_augmentations(cfg, True) if isinstance(a, T.RandomFlip)]
    assert [f.horizontal for f in flips] == ([] if horizontal is None else [horizontal])
    assert not any(isinstance(a, T.RandomFlip) for a in build_augmentations(cfg, False))


def test_shortest_edge(cfg: CfgNode) -> None:
    cfg.INPUT.AUGMENTATION = "shortest_edge"
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (32,), 1000
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 100
    assert apply(build_augmentations(cfg, True), (50, 100))[0].shape == (32, 64, 3)
    assert apply(build_augmentations(cfg, False), (50, 100))[0].shape == (50, 100, 3)


def test_shortest_edge_with_a_crop(cfg: CfgNode) -> None:
    cfg.INPUT.AUGMENTATION = "shortest_edge"
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (32,), 1000
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE = True, "absolute"
    cfg.INPUT.CROP.SIZE = [20, 20]
    assert apply(build_augmentations(cfg, True), (50, 100))[0].shape == (32, 32, 3)
    assert not any(isinstance(a, T.RandomCrop) for a in build_augmentations(cfg, False))


def test_unknown_name(cfg: CfgNode) -> None:
    cfg.INPUT.AUGMENTATION = "scale-crop"
    with pytest.raises(ConfigError, match="INPUT.AUGMENTATION is 'scale-crop'; choose scale_crop"):
        build_augmentations(cfg, is_train=True)


@pytest.mark.parametrize("scale, size", [(1.0, (40, 61)), (2.0, (80, 122)), (0.5, (20, 31))])
def test_scale_at_test_time(cfg: CfgNode, scale: float, size: Tuple[int, int]) -> None:
    cfg.INPUT.TEST_SCALE = scale
    image, _ = apply(build_augmentations(cfg, is_train=False), (40, 61))
    assert image.shape == (*size, 3)


def test_base_size_makes_image_sizes_equal(cfg: CfgNode) -> None:
    cfg.INPUT.BASE_SHORTEST_EDGE = 60
    assert apply(build_augmentations(cfg, False), (20, 30))[0].shape == (60, 90, 3)
    assert apply(build_augmentations(cfg, False), (240, 120))[0].shape == (120, 60, 3)
    cfg.INPUT.TEST_SCALE = 1.5
    assert apply(build_augmentations(cfg, False), (240, 120))[0].shape == (180, 90, 3)
    training = build_augmentations(cfg, True)[0]
    assert (training.base_shortest_edge, training.scale_range) == (60, cfg.INPUT.SCALE_RANGE)


@pytest.mark.parametrize("size", [(30, 200), (200, 30), (48, 80), (11, 9), (1, 400)])
def test_large_scale_jitter_counts_from_what_fits(cfg: CfgNode, size: Tuple[int, int]) -> None:
    cfg.INPUT.AUGMENTATION, cfg.INPUT.BASE_SHORTEST_EDGE = "large_scale_jitter", 7
    cfg.INPUT.SCALE_RANGE = (0.1, 2.0)
    scale = build_augmentations(cfg, is_train=True)[0]
    image = np.zeros((*size, 3), dtype=np.uint8)
    theirs = T.ResizeScale(0.1, 2.0, *cfg.INPUT.CROP_SIZE)
    for seed in range(20):
        np.random.seed(seed)
        ours = scale.get_transform(image)
        np.random.seed(seed)
        expected = theirs.get_transform(image)
        # A side that rounds to nothing keeps a pixel.
        assert (ours.new_h, ours.new_w) == (max(1, expected.new_h), max(1, expected.new_w))


def test_large_scale_jitter_gives_crops_and_fits_test_images(cfg: CfgNode) -> None:
    cfg.INPUT.AUGMENTATION, cfg.INPUT.SCALE_RANGE = "large_scale_jitter", (0.1, 2.0)
    cfg.INPUT.CROP_OBJECT_PROB = 0.5
    kinds = [type(a) for a in build_augmentations(cfg, is_train=True)]
    assert kinds == [RandomScale, CropAtObject, RandomWindow, T.RandomFlip]
    cfg.INPUT.CROP_OBJECT_PROB = 0.0
    np.random.seed(3)
    for _ in range(10):
        image, labels = apply(build_augmentations(cfg, is_train=True), (33, 100))
        assert image.shape == (48, 80, 3) and (labels == 1).any()
    assert apply(build_augmentations(cfg, False), (24, 80))[0].shape == (24, 80, 3)
    assert apply(build_augmentations(cfg, False), (96, 100))[0].shape == (48, 50, 3)
    cfg.INPUT.TEST_SCALE = 2.0
    assert apply(build_augmentations(cfg, False), (96, 100))[0].shape == (96, 100, 3)


def test_windows_lie_anywhere() -> None:
    """Each in an image with one more row and column has its chance: in all four corners."""
    np.random.seed(0)
    crop = RandomWindow((48, 80))
    image = np.zeros((49, 81, 3), np.uint8)
    windows = [crop.get_transform(image).transforms[0] for _ in range(200)]
    assert all((w.w, w.h) == (80, 48) for w in windows)
    starts = [(w.x0, w.y0) for w in windows]
    assert all(starts.count((x, y)) > 20 for x in (0, 1) for y in (0, 1))
    assert apply([crop], (30, 200))[0].shape == (48, 80, 3)


def crop_at(boxes: List[List[float]], size: Tuple[int, int] = (100, 200)) -> T.Transform:
    """A transform of ``CropAtObject`` with windows of 48 x 80."""
    image = np.zeros((*size, 3), dtype=np.uint8)
    array = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    return CropAtObject((48, 80), 1.0).get_transform(image, array)


def test_object_crops_hold_a_whole_object() -> None:
    np.random.seed(0)
    windows = [crop_at([[110, 20, 130, 61]]) for _ in range(200)]
    assert all((w.w, w.h) == (80, 48) for w in windows)
    assert all(w.x0 <= 110 and w.x0 + 80 >= 130 for w in windows)
    assert all(w.y0 <= 20 and w.y0 + 48 >= 61 for w in windows)
    # Every window that holds it occurs: x0 from 130 - 80 to 110, y0 from 61 - 48 to 20.
    assert {w.x0 for w in windows} <= set(range(50, 111)) and len({w.x0 for w in windows}) > 50
    assert {w.y0 for w in windows} == set(range(13, 21))


def test_object_crops_choose_among_the_objects() -> None:
    np.random.seed(0)
    windows = [crop_at([[0, 0, 5, 5], [195, 95, 200, 100]]) for _ in range(40)]
    assert {(w.x0 < 60, w.y0 < 30) for w in windows} == {(True, True), (False, False)}


def test_crops_at_a_large_object_hold_its_middle() -> None:
    np.random.seed(0)
    windows = [crop_at([[0, 0, 200, 100]]) for _ in range(100)]
    assert all(w.x0 <= 100 <= w.x0 + 80 and w.y0 <= 50 <= w.y0 + 48 for w in windows)


def test_object_crops_of_small_and_empty_images() -> None:
    small = crop_at([[1, 1, 3, 3]], size=(20, 30))
    assert (small.x0, small.y0, small.w, small.h) == (0, 0, 30, 20)
    assert isinstance(crop_at([]), T.NoOpTransform)


def test_probability_of_object_crops(cfg: CfgNode) -> None:
    assert not any(isinstance(a, CropAtObject) for a in build_augmentations(cfg, True))
    cfg.INPUT.CROP_OBJECT_PROB = 0.25
    crops = [a for a in build_augmentations(cfg, True) if isinstance(a, CropAtObject)]
    assert [(c.crop_size, c.prob) for c in crops] == [((48, 80), 0.25)]
    assert not any(isinstance(a, CropAtObject) for a in build_augmentations(cfg, False))
    image, boxes = np.zeros((100, 200, 3), np.uint8), np.array([[5, 5, 9, 9]], np.float32)
    np.random.seed(0)
    drawn = [crops[0].get_transform(image, boxes) for _ in range(400)]
    assert 0.2 < np.mean([isinstance(d, T.NoOpTransform) is False for d in drawn]) < 0.3


def test_colour_jitter_off_and_on(cfg: CfgNode) -> None:
    cfg.INPUT.SCALE_RANGE, cfg.INPUT.RANDOM_FLIP = (1.0, 1.0), "none"
    plain, _ = apply(build_augmentations(cfg, True), (48, 80))
    again, _ = apply(build_augmentations(cfg, True), (48, 80))
    assert (plain == again).all()
    cfg.INPUT.COLOR_JITTER = 0.4
    np.random.seed(2)
    jittered, labels = apply(build_augmentations(cfg, True), (48, 80))
    assert (jittered != plain).mean() > 0.5 and (labels == 1).all()
    cfg.INPUT.FORMAT = "RGB"
    jitter = build_augmentations(cfg, True)[-1]
    assert isinstance(jitter, ColorJitter)
    assert (jitter.low, jitter.high, jitter.image_format) == (0.6, 1.4, "RGB")
    assert not any(isinstance(a, ColorJitter) for a in build_augmentations(cfg, False))


def jittered(image: np.ndarray, *factors: float, image_format: str = "RGB") -> np.ndarray:
    """``image`` with these draws of brightness, contrast and saturation."""
    with mock.patch.object(np.random, "uniform", return_value=np.array(factors)) as draw:
        transform = ColorJitter(0.6, 1.4, image_format).get_transform(image)
    draw.assert_called_once_with(0.6, 1.4, 3)
    return transform.apply_image(image)


@pytest.mark.parametrize(
    "factors, expected",
    [
        ((1.0, 1.0, 1.0), [[100, 100, 100], [200, 0, 0]]),
        ((1.4, 1.0, 1.0), [[140, 140, 140], [255, 0, 0]]),
        ((1.0, 0.5, 1.0), [[90, 90, 90], [140, 40, 40]]),  # towards 80, the mean of 100 and 60
        ((1.0, 1.0, 0.0), [[100, 100, 100], [60, 60, 60]]),  # 0.299 * 200
    ],
)
def test_colour_jitter_by_hand(factors: Tuple[float, ...], expected: List[List[int]]) -> None:
    image = np.array([[[100, 100, 100], [200, 0, 0]]], dtype=np.uint8)
    assert jittered(image, *factors).tolist() == [expected]


@pytest.mark.parametrize("factors", [(1.3, 0.7, 1.2), (0.7, 1.3, 0.6)])
def test_colour_jitter_is_that_of_detectron2(factors: Tuple[float, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    expected = image
    for augmentation, factor in zip(
        (T.RandomBrightness, T.RandomContrast, T.RandomSaturation), factors
    ):
        expected = augmentation(factor, factor).get_transform(expected).apply_image(expected)
    difference = jittered(image, *factors).astype(int) - expected
    assert np.abs(difference).max() <= 3


def test_colour_jitter_knows_the_order_of_the_channels(cfg: CfgNode) -> None:
    """A BGR image gets the colours that the RGB image gets, to the bit."""
    rgb = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    bgr = rgb[:, :, ::-1]
    expected = jittered(rgb, 1.2, 0.7, 0.3)
    found = jittered(np.ascontiguousarray(bgr), 1.2, 0.7, 0.3, image_format="BGR")
    assert np.array_equal(found[:, :, ::-1], expected)
    red = np.array([[[0, 0, 200]]], dtype=np.uint8)
    assert jittered(red, 1.0, 1.0, 0.0, image_format="BGR").tolist() == [[[60, 60, 60]]]
    cfg.INPUT.COLOR_JITTER = 0.2
    assert build_augmentations(cfg, True)[-1].image_format == cfg.INPUT.FORMAT == "BGR"
