"""The XML of CVAT: its fields, as a reader made from its documentation reads them."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, Callable, Dict, Tuple

import numpy as np
import pytest
from PIL import Image, ImageDraw

from effps_solo.inference.labels.cvat import CvatWriter
from tests.inference.labels.scenes import CLASSES, Scene, best_match


def write(folder: Path, *scenes: Scene, tolerance: float = 0.0) -> Any:
    writer = CvatWriter(folder, CLASSES, tolerance)
    for scene in scenes:
        writer.add(scene.entry, scene.ids)
    writer.close()
    return ElementTree.parse(folder / "annotations.xml").getroot()


def test_a_file_by_hand(write_scene: Callable[..., Scene], tmp_path: Path) -> None:
    """The elements are those of CVAT's page "XML annotation format", version 1.1."""
    first = write_scene(np.array([[2, 0, 0], [3, 0, 3]]), "b & c")
    second = write_scene(np.array([[0, 0, 0, 0], [0, 3, 3, 3], [0, 3, 0, 3], [0, 3, 3, 3]]), "a")
    root = write(tmp_path, first, second)
    assert root.tag == "annotations" and root.findtext("version") == "1.1"
    assert root.findtext("meta/task/size") == "2"
    assert root.findtext("meta/task/mode") == "annotation"
    labels = root.findall("meta/task/labels/label")
    assert [(label.findtext("name"), label.findtext("color")) for label in labels] == [
        ("car", "#00008e"),
        ('"road" & <kerb>', "#804080"),
        ("sky", "#4682b4"),
    ]
    images = root.findall("image")
    assert [image.attrib for image in images] == [
        {"id": "0", "name": "a.png", "width": "4", "height": "4"},
        {"id": "1", "name": "b & c.png", "width": "3", "height": "2"},
    ]
    (mask,) = images[0]
    common = {"source": "auto", "occluded": "0"}
    assert mask.tag == "mask" and mask.attrib == {
        "label": "car",
        **common,
        "rle": "0, 4, 1, 4",
        "left": "1",
        "top": "1",
        "width": "3",
        "height": "3",
        "z_order": "1",
    }
    road, *cars = images[1]
    assert {shape.tag for shape in images[1]} == {"polygon"}
    points = "0.01,0.01;0.99,0.01;0.99,0.99;0.01,0.99"
    assert road.attrib == {
        "label": '"road" & <kerb>',
        **common,
        "points": points,
        "z_order": "0",
    }
    assert [car.get("group_id") for car in cars] == ["3", "3"]
    assert cars[1].get("points") == "2.01,1.01;2.99,1.01;2.99,1.99;2.01,1.99"


def read(image: Any) -> Tuple[np.ndarray, Dict[int, str]]:
    """(H, W) ids and their labels; shapes of a group, and stuff, have one id."""
    canvas = Image.new("I", (int(image.get("width")), int(image.get("height"))))
    ids: Dict[Any, int] = {}
    for k, shape in enumerate(sorted(image, key=lambda s: int(s.get("z_order")))):
        label = shape.get("label")
        own = label if label != "car" else (label, shape.get("group_id", f"shape {k}"))
        segment_id = ids.setdefault(own, len(ids) + 1)
        if shape.tag == "polygon":
            pairs = [pair.split(",") for pair in shape.get("points").split(";")]
            ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in pairs], segment_id)
            continue
        left, top, width, height = (
            int(shape.get(key)) for key in ("left", "top", "width", "height")
        )
        counts = [int(count) for count in shape.get("rle").split(",")]
        assert sum(counts) == width * height
        pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)
        canvas.paste(segment_id, (left, top), Image.fromarray(pixels))
    names = {v: k if isinstance(k, str) else k[0] for k, v in ids.items()}
    return np.asarray(canvas), names


@pytest.mark.parametrize("tolerance, min_iou", [(0, 1), (1, 0.97)])
def test_every_segment_is_read_again(
    scene: Scene, tmp_path: Path, tolerance: float, min_iou: float
) -> None:
    ids, names = read(write(tmp_path, scene, tolerance=tolerance).find("image"))
    segments = scene.entry["annotation"]["segments_info"]
    assert len(names) == len(segments)
    name_of = {entry.dataset_id: entry.name for entry in CLASSES}
    for segment in segments:
        found, quality = best_match(scene.ids == segment["id"], ids)
        assert quality >= min_iou and names[found] == name_of[segment["category_id"]]


def test_no_image_and_no_segment(write_scene: Callable[..., Scene], tmp_path: Path) -> None:
    assert write(tmp_path / "none").find("image") is None
    scene = write_scene(np.zeros((4, 5), dtype=np.int32))
    (image,) = write(tmp_path / "empty", scene).findall("image")
    assert len(image) == 0


def test_a_name_that_is_no_text(scene: Scene, tmp_path: Path) -> None:
    scene.entry["image"]["file_name"] = b"caf\xe9.png".decode(errors="surrogateescape")
    assert write(tmp_path, scene).find("image").get("name") == "caf?.png"
