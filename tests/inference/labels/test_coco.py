"""The COCO file: its fields, as pycocotools reads them."""

import json
from pathlib import Path
from typing import Any, Callable, Dict

import numpy as np
from pycocotools.coco import COCO

from effps_solo.inference.labels.coco import CocoWriter
from tests.inference.labels.scenes import CLASSES, Scene


def write(folder: Path, *scenes: Scene, tolerance: float = 0.0) -> Dict[str, Any]:
    writer = CocoWriter(folder, CLASSES, tolerance)
    for scene in scenes:
        writer.add(scene.entry, scene.ids)
    writer.close()
    content: Dict[str, Any] = json.loads((folder / "instances.json").read_text())
    return content


def test_a_file_by_hand(write_scene: Callable[..., Scene], tmp_path: Path) -> None:
    first = write_scene(np.array([[2, 0], [0, 2]]), "a", 7)
    second = write_scene(np.array([[3, 3, 3], [3, 0, 3], [3, 3, 3]]), "b", 8)
    content = write(tmp_path, first, second)
    assert content["images"] == [
        {"id": 7, "width": 2, "height": 2, "file_name": "a.png"},
        {"id": 8, "width": 3, "height": 3, "file_name": "b.png"},
    ]
    assert content["categories"][:2] == [
        {"id": 26, "name": "car", "supercategory": "", "isthing": 1, "color": [0, 0, 142]},
        {
            "id": 7,
            "name": '"road" & <kerb>',
            "supercategory": "",
            "isthing": 0,
            "color": [128, 64, 128],
        },
    ]
    assert content["annotations"] == [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 7,
            "segmentation": [[0, 0, 1, 0, 1, 1, 0, 1], [1, 1, 2, 1, 2, 2, 1, 2]],
            "area": 2,
            "bbox": [0, 0, 2, 2],
            "iscrowd": 0,
            "score": 0.75,
        },
        {
            "id": 2,
            "image_id": 8,
            "category_id": 26,
            "segmentation": {"counts": [0, 4, 1, 4], "size": [3, 3]},
            "area": 8,
            "bbox": [0, 0, 3, 3],
            "iscrowd": 0,
            "score": 0.75,
        },
    ]


def test_pycocotools_reads_every_segment(scene: Scene, tmp_path: Path) -> None:
    write(tmp_path, scene)
    coco = COCO(str(tmp_path / "instances.json"))
    ids = np.zeros_like(scene.ids)
    by_id = {s["id"]: s for s in scene.entry["annotation"]["segments_info"]}
    for annotation in coco.loadAnns(coco.getAnnIds(imgIds=[1])):
        mask = coco.annToMask(annotation).astype(bool)
        assert mask.sum() == annotation["area"] and not ids[mask].any()
        (segment_id,) = np.unique(scene.ids[mask]).tolist()
        assert by_id[segment_id]["category_id"] == annotation["category_id"]
        ids[mask] = segment_id
    assert np.array_equal(ids, scene.ids)


def test_middles_of_pixels_need_decimals(scene: Scene, tmp_path: Path) -> None:
    content = write(tmp_path, scene, tolerance=1)
    polygons = [a["segmentation"] for a in content["annotations"]]
    values = [v for p in polygons if isinstance(p, list) for part in p for v in part]
    assert {v % 0.5 for v in values} == {0} and any(v % 1 for v in values)


def test_no_image_and_no_segment(write_scene: Callable[..., Scene], tmp_path: Path) -> None:
    content = write(tmp_path / "none")
    assert content["images"] == content["annotations"] == [] and len(content["categories"]) == 3
    scene = write_scene(np.zeros((4, 5), dtype=np.int32))
    content = write(tmp_path / "empty", scene)
    assert len(content["images"]) == 1 and content["annotations"] == []
