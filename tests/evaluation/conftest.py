"""Two tiny data sets, one in either layout."""

import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
from detectron2.config import CfgNode, get_cfg
from PIL import Image

from effps_solo.config.defaults import add_effps_solo_config
from effps_solo.data.datasets.cityscapes_labels import write_panoptic
from effps_solo.data.datasets.registration import register_datasets

Record = Dict[str, Any]
STREET_SCENES = ("street_scenes_panoptic_train", "street_scenes_panoptic_val")
COCO_CATEGORIES = [
    {"id": 21, "name": "road", "isthing": 0},
    {"id": 7, "name": "person", "isthing": 1},
    {"id": 90, "name": "sky", "isthing": 0},
    {"id": 3, "name": "car", "isthing": 1},
]
# Rows of segment ids; the rest of an image is void.
COCO_IDS = {4: (24, 20), 9: (16, 28)}


@pytest.fixture(autouse=True)
def catalogs(clean_catalogs: None) -> None:
    """Every test of this folder registers data sets."""


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    """All defaults; OUTPUT_DIR is a new folder."""
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.OUTPUT_DIR = str(tmp_path / "output")
    return cfg


@pytest.fixture
def write_coco(tmp_path: Path, cfg: CfgNode) -> Callable[..., str]:
    """Write and register a data set in COCO layout; returns its name."""

    def write(
        id_maps: Dict[int, np.ndarray], segments: Dict[int, List[Record]], **content: Any
    ) -> str:
        root = tmp_path / "tiny"
        images, annotations = [], []
        for image_id, ids in id_maps.items():
            name = f"{image_id}/same"
            pixels = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
            for folder, suffix in (("val", "jpg"), ("panoptic_val", "png")):
                (root / folder / str(image_id)).mkdir(parents=True)
                Image.fromarray(pixels).save(root / folder / f"{name}.{suffix}")
            info = [
                {"iscrowd": 0, "area": int((ids == segment["id"]).sum()), **segment}
                for segment in segments[image_id]
            ]
            height, width = ids.shape
            images.append(
                {"id": image_id, "file_name": f"{name}.jpg", "height": height, "width": width}
            )
            annotations.append(
                {"image_id": image_id, "file_name": f"{name}.png", "segments_info": info}
            )
        content = {"categories": COCO_CATEGORIES, **content}
        content.update(images=images, annotations=annotations)
        (root / "panoptic_val.json").write_text(json.dumps(content))
        cfg.DATASETS.PANOPTIC.NAME = "tiny"
        cfg.DATASETS.TEST = ("tiny_val",)
        register_datasets(cfg)
        return "tiny_val"

    return write


@pytest.fixture
def coco_name(write_coco: Callable[..., str]) -> str:
    """Two images of different size with things, a crowd, stuff and void."""
    first, second = (np.zeros(size, dtype=np.int64) for size in COCO_IDS.values())
    first[:8], first[8:16, :10], first[8:16, 10:16], first[16:22] = 70000, 300, 301, 5
    second[:6], second[6:12, :9], second[6:12, 12:20] = 8, 40, 41
    segments = {
        4: [
            {"id": 70000, "category_id": 90},
            {"id": 300, "category_id": 3},
            {"id": 301, "category_id": 7},
            {"id": 5, "category_id": 21},
        ],
        9: [
            {"id": 8, "category_id": 90},
            {"id": 40, "category_id": 7},
            {"id": 41, "category_id": 7, "iscrowd": 1},
        ],
    }
    return write_coco({4: first, 9: second}, segments)


def _write_cityscapes_image(root: Path, index: int, instance_ids: np.ndarray) -> None:
    """Files of one image from Cityscapes' instance ids: label, or 1000 label + number."""
    stem = f"town_000000_{index:06d}"
    labels = np.where(instance_ids >= 1000, instance_ids // 1000, instance_ids)
    for folder in ("leftImg8bit", "gtFine"):
        (root / folder / "val" / "town").mkdir(parents=True, exist_ok=True)
    picture = np.stack([labels] * 3, -1).astype(np.uint8)
    Image.fromarray(picture).save(root / "leftImg8bit/val/town" / f"{stem}_leftImg8bit.png")
    gt = root / "gtFine" / "val" / "town"
    Image.fromarray(labels.astype(np.uint8)).save(gt / f"{stem}_gtFine_labelIds.png")
    Image.fromarray(instance_ids.astype(np.uint16)).save(gt / f"{stem}_gtFine_instanceIds.png")


@pytest.fixture
def cityscapes_name(tmp_path: Path, cfg: CfgNode) -> str:
    """Two images of different size with cars, a person, a group of persons, stuff and void."""
    root = tmp_path / "street_scenes"
    first, second = np.full((48, 96), 7), np.full((64, 40), 11)  # road; building
    first[:10], first[40:] = 23, 1  # sky; ego vehicle, void
    first[12:30, 4:20], first[12:30, 40:60] = 26000, 26001
    second[20:40, 4:16], second[20:40, 22:36] = 24000, 24  # a person; a group
    for index, ids in enumerate((first, second)):
        _write_cityscapes_image(root, index, ids)
    write_panoptic(root, "val")
    register_datasets(cfg)
    return STREET_SCENES[1]


@pytest.fixture
def files_below() -> Callable[[Path], List[str]]:
    """All files and folders below a folder."""

    def walk(folder: Path) -> List[str]:
        return sorted(
            os.path.join(parent, name)
            for parent, folders, names in os.walk(folder)
            for name in [*folders, *names]
        )

    return walk
