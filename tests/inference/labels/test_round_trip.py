"""Predictions as labels, and those as a data set: every segment is there again."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest

from effps_solo.__main__ import main
from effps_solo.data.importers.formats import FORMATS
from effps_solo.inference.labels.build import build_label_writer
from effps_solo.structures.panoptic_png import read_segment_ids
from tests.inference.labels.scenes import CLASSES, Scene, best_match

WRITTEN = {"labelme": "labelme", "coco": "instances.json", "cvat": "annotations.xml"}


@pytest.mark.parametrize("tolerance, min_iou", [(0, 1), (1, 0.97)])
@pytest.mark.parametrize("name", WRITTEN)
def test_round_trip(
    name: str,
    tolerance: float,
    min_iou: float,
    scene: Scene,
    write_scene: Callable[..., Scene],
    tmp_path: Path,
) -> None:
    [format_name] = [each for each in FORMATS if each.startswith(name)]
    scenes = [scene, write_scene(scene.ids[::-1], "b", 2)]
    writer = build_label_writer(name, tmp_path / "predictions", CLASSES, tolerance)
    for each in scenes:
        writer.add(each.entry, each.ids)
    writer.close()
    words = ["--from", format_name, "--annotations", str(tmp_path / "predictions" / WRITTEN[name])]
    if name != "coco":  # whose file has them itself
        words += ["--classes", str(tmp_path / "predictions" / "classes.yaml")]
    words += ["--images", str(tmp_path / "images"), "--output", str(tmp_path / "set")]
    assert main(["import-dataset", *words, "--workers", "1"]) == 0
    content = json.loads((tmp_path / "set" / "panoptic_train.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    assert names == {entry.dataset_id: entry.name for entry in CLASSES}
    for each, annotation in zip(scenes, content["annotations"]):
        png = tmp_path / "set" / "panoptic_train" / annotation["file_name"]
        check(each, read_segment_ids(str(png)), annotation["segments_info"], min_iou)


@pytest.mark.parametrize("name", WRITTEN)
def test_classes_that_no_image_shows_stay(
    name: str, write_scene: Callable[..., Scene], tmp_path: Path
) -> None:
    """So the labels can be trained on beside the data set that the model was trained on."""
    scene = write_scene(np.full((30, 40), 2))
    writer = build_label_writer(name, tmp_path / "predictions", CLASSES, 0)
    writer.add(scene.entry, scene.ids)
    writer.close()
    [format_name] = [each for each in FORMATS if each.startswith(name)]
    words = ["--from", format_name, "--annotations", str(tmp_path / "predictions" / WRITTEN[name])]
    words += ["--classes", str(tmp_path / "predictions" / "classes.yaml"), "--workers", "1"]
    words += ["--images", str(tmp_path / "images"), "--output", str(tmp_path / "set")]
    assert main(["import-dataset", *words]) == 0
    content = json.loads((tmp_path / "set" / "panoptic_train.json").read_text())
    assert {(c["id"], c["name"], c["isthing"]) for c in content["categories"]} == {
        (each.dataset_id, each.name, each.isthing) for each in CLASSES
    }
    assert [segment["area"] for segment in content["annotations"][0]["segments_info"]] == [30 * 40]


def check(scene: Scene, ids: np.ndarray, found: List[Dict[str, Any]], min_iou: float) -> None:
    segments = scene.entry["annotation"]["segments_info"]
    assert len(found) == len(segments)
    category_of = {segment["id"]: segment["category_id"] for segment in found}
    for segment in segments:
        own, quality = best_match(scene.ids == segment["id"], ids)
        assert quality >= min_iou
        assert category_of[own] == segment["category_id"]
