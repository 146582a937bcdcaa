"""A tiny data set in COCO panoptic layout, and catalogs that forget what a test registers."""

import json
from pathlib import Path
from typing import Any, Callable, Dict

import numpy as np
import pytest
from detectron2.config import CfgNode, get_cfg
from PIL import Image

from effps_solo.config.defaults import add_effps_solo_config

CATEGORIES = [
    {"id": 21, "name": "road", "isthing": 0, "color": [1, 2, 3]},
    {"id": 7, "name": "person", "isthing": 1},
    {"id": 90, "name": "sky", "isthing": 0},
    {"id": 3, "name": "car", "isthing": 1},
]
SIZES = {4: (6, 8), 9: (5, 4)}


@pytest.fixture(autouse=True)
def catalogs(clean_catalogs: None) -> None:
    """Every test of this folder registers data sets."""


def _content(split: str) -> Dict[str, Any]:
    images, annotations = [], []
    for image_id, (height, width) in SIZES.items():
        suffix = "jpg" if image_id == 4 else "png"
        name = f"{split}_{image_id}.{suffix}"
        images.append({"id": image_id, "file_name": name, "height": height, "width": width})
        segments = [
            {
                "id": 65536 + 1,
                "category_id": 3,
                "iscrowd": 0,
                "area": width,
                "bbox": [0, 0, width, 1],
            },
            {"id": 300, "category_id": 90, "iscrowd": 0, "area": width, "bbox": [0, 1, width, 1]},
        ]
        annotations.append(
            {
                "image_id": image_id,
                "file_name": f"{split}_{image_id}.png",
                "segments_info": segments,
            }
        )
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


@pytest.fixture
def coco_root(tmp_path: Path) -> Path:
    """Folder "tiny" with the splits train and val, two images each of different size."""
    root = tmp_path / "data" / "tiny"
    for split in ("train", "val"):
        content = _content(split)
        (root / f"panoptic_{split}").mkdir(parents=True)
        (root / split).mkdir()
        for image in content["images"]:
            pixels = np.zeros((image["height"], image["width"], 3), np.uint8)
            Image.fromarray(pixels).save(root / split / image["file_name"])
            pixels[0] = (1, 0, 1)
            pixels[1] = (300 % 256, 300 // 256, 0)
            stem = Path(image["file_name"]).stem
            Image.fromarray(pixels).save(root / f"panoptic_{split}" / f"{stem}.png")
        (root / f"panoptic_{split}.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def edit_json(coco_root: Path) -> Callable[[Callable[[Dict[str, Any]], Any]], Path]:
    """Change the JSON of the split val by a function; returns its path."""

    def edit(change: Callable[[Dict[str, Any]], Any]) -> Path:
        path = coco_root / "panoptic_val.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))
        return path

    return edit


@pytest.fixture
def cfg() -> CfgNode:
    """All defaults."""
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    return cfg


@pytest.fixture
def coco_cfg(cfg: CfgNode, coco_root: Path) -> CfgNode:
    """Asks for the tiny data set."""
    cfg.DATASETS.PANOPTIC.NAME = "tiny"
    cfg.DATASETS.PANOPTIC.ROOT = str(coco_root)
    cfg.DATASETS.TRAIN = ("tiny_train",)
    cfg.DATASETS.TEST = ("tiny_val",)
    return cfg
