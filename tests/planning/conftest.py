"""Made-up data sets and machines."""

from typing import Any, Callable, Sequence, Tuple

import numpy as np
import pytest

from effps_solo.planning.fingerprint import Fingerprint, ImageFacts
from effps_solo.planning.machine import Machine
from effps_solo.structures.label_space import PanopticLabelSpace

NAMES = ("car", "road", "sky")


@pytest.fixture
def machine() -> Machine:
    return Machine("cpu", "a processor", num_cores=2, memory=8e9, fast_bf16=False)


@pytest.fixture
def make_data() -> Callable[..., Fingerprint]:
    """(sizes of images, sides of the objects of each) -> a fingerprint of cars on a road below the sky."""

    def run(
        sizes: Sequence[Tuple[int, int]],
        sides: Sequence[Sequence[float]],
        shares: Sequence[float] = (0.1, 0.5, 0.4),
        num_images_of_class: Any = None,
        stuff_areas: Sequence[float] = (0.5, 0.4),
    ) -> Fingerprint:
        label_space = PanopticLabelSpace({1: 0}, {2: 1, 3: 2})
        images = [_image(*each, shares, stuff_areas) for each in zip(sizes, sides)]
        return Fingerprint(
            NAMES,
            label_space,
            images,
            num_objects=np.array([len(each) for each in sides]),
            num_images_of_class=np.array(num_images_of_class or [len(sizes)] * len(NAMES)),
        )

    return run


def _image(
    size: Tuple[int, int],
    sides: Sequence[float],
    shares: Sequence[float],
    stuff_areas: Sequence[float],
) -> ImageFacts:
    """Squares on a regular grid of places, row by row."""
    columns = max(1, int(np.ceil(np.sqrt(len(sides) * size[1] / size[0]))))
    places = np.arange(len(sides))
    pitch = size[1] / columns
    centers = np.stack([places % columns + 0.5, places // columns + 0.5], axis=1) * pitch
    half = np.asarray(sides, dtype=np.float64)[:, None] / 2
    return ImageFacts(
        size=size,
        boxes=np.concatenate([centers - half, centers + half], axis=1).astype(np.float32),
        centers=centers.astype(np.float32),
        areas=np.square(np.asarray(sides)).astype(np.int64),
        classes=np.zeros(len(sides), dtype=np.int64),
        num_touching=0,
        class_pixels=np.round(np.array(shares) * size[0] * size[1]).astype(np.int64),
        stuff_areas=np.array(stuff_areas),
    )
