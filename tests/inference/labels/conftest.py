"""Scenes, and the entries that the writers of labels get."""

from pathlib import Path
from typing import Callable

import numpy as np
import pytest
from PIL import Image

from effps_solo.inference.result import PanopticResult
from tests.inference.labels.scenes import CLASS_OF_ID, CLASSES, Scene, scene_ids


@pytest.fixture
def write_scene(tmp_path: Path) -> Callable[..., Scene]:
    """(ids, name, image id) -> the scene, whose image is written."""

    def run(ids: np.ndarray, name: str = "a", image_id: int = 1) -> Scene:
        image = tmp_path / "images" / f"{name}.png"
        image.parent.mkdir(exist_ok=True)
        pixels = np.zeros((*ids.shape, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(image)
        info = [
            {"id": i, "category_id": c, "isthing": CLASSES[c].isthing, "score": 0.75}
            for i, c in CLASS_OF_ID.items()
        ]
        result = PanopticResult.from_prediction(pixels, ids, info, CLASSES)
        entry = result.to_coco(image.name, name, image_id)
        entry["image"]["source"] = str(image)
        return Scene(ids, entry, image)

    return run


@pytest.fixture
def scene(write_scene: Callable[..., Scene]) -> Scene:
    return write_scene(scene_ids())
