"""COCO panoptic layout: what comes out, and a clear error for everything that can be wrong."""

import json
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from effps_solo.data.datasets.files import DatasetError
from effps_solo.data.datasets.registration import register_datasets

Json = Dict[str, Any]
Edit = Callable[[Callable[[Json], Any]], Path]


def test_metadata_count_things_first(coco_cfg: CfgNode, coco_root: Path) -> None:
    register_datasets(coco_cfg)
    metadata = MetadataCatalog.get("tiny_val")
    assert metadata.thing_classes == metadata.stuff_classes == ["person", "car", "road", "sky"]
    assert metadata.thing_dataset_id_to_contiguous_id == {7: 0, 3: 1}
    assert metadata.stuff_dataset_id_to_contiguous_id == {21: 2, 90: 3}
    assert metadata.thing_colors == metadata.stuff_colors
    assert metadata.thing_colors[2] == [1, 2, 3]
    assert len({tuple(color) for color in metadata.thing_colors}) == 4
    assert metadata.image_root == str(coco_root / "val")
    assert metadata.panoptic_root == str(coco_root / "panoptic_val")
    assert metadata.panoptic_json == str(coco_root / "panoptic_val.json")
    assert (metadata.ignore_label, metadata.label_divisor) == (255, 1000)
    assert metadata.evaluator_type == "coco_panoptic_seg"


def test_records(coco_cfg: CfgNode, coco_root: Path) -> None:
    register_datasets(coco_cfg)
    first, second = DatasetCatalog.get("tiny_val")
    assert first == {
        "file_name": str(coco_root / "val" / "val_4.jpg"),
        "image_id": 4,
        "height": 6,
        "width": 8,
        "pan_seg_file_name": str(coco_root / "panoptic_val" / "val_4.png"),
        "segments_info": [
            {
                "id": 65537,
                "category_id": 1,
                "isthing": True,
                "iscrowd": 0,
                "area": 8,
                "bbox": [0, 0, 8, 1],
            },
            {
                "id": 300,
                "category_id": 3,
                "isthing": False,
                "iscrowd": 0,
                "area": 8,
                "bbox": [0, 1, 8, 1],
            },
        ],
    }
    assert second["file_name"].endswith("val_9.png")
    assert (second["height"], second["width"]) == (5, 4)
    assert len(DatasetCatalog.get("tiny_train")) == 2


def test_files_in_subfolders_and_an_image_without_segments(
    coco_cfg: CfgNode, coco_root: Path, edit_json: Edit
) -> None:
    for folder, name in (("val", "val_4.jpg"), ("panoptic_val", "val_4.png")):
        (coco_root / folder / "a").mkdir()
        shutil.move(coco_root / folder / name, coco_root / folder / "a" / name)

    def change(content: Json) -> None:
        content["images"][0]["file_name"] = "a/val_4.jpg"
        content["annotations"][0].update(file_name="a/val_4.png", segments_info=[])

    edit_json(change)
    register_datasets(coco_cfg)
    record = DatasetCatalog.get("tiny_val")[0]
    assert record["file_name"] == str(coco_root / "val" / "a" / "val_4.jpg")
    assert record["segments_info"] == []


def _first_segments(content: Json) -> List[Json]:
    segments: List[Json] = content["annotations"][0]["segments_info"]
    return segments


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["images"].pop(0), ["val_4.png", "'images' does not list"]),
        (lambda c: c["annotations"].pop(0), ["val_4.jpg", "no annotation"]),
        (lambda c: c["images"].append(c["images"][0]), ["several images", "4"]),
        (lambda c: c["annotations"].append(c["annotations"][0]), ["several annotations", "4"]),
        (lambda c: c["images"][0].pop("height"), ["val_4.jpg", "no height"]),
        (lambda c: c["annotations"][0].pop("segments_info"), ["val_4.png", "no segments_info"]),
        (lambda c: _first_segments(c)[0].update(category_id=55), ["val_4.png", "category_id 55"]),
        (lambda c: _first_segments(c)[0].update(id=300), ["val_4.png", "several segments", "300"]),
        (lambda c: _first_segments(c)[0].update(id=0), ["val_4.png", "segment id 0"]),
        (lambda c: _first_segments(c)[0].update(id=256**3), ["val_4.png", "segment id 16777216"]),
        (lambda c: _first_segments(c)[0].pop("iscrowd"), ["val_4.png", "no iscrowd"]),
        (lambda c: _first_segments(c)[0].update(category_id=[3]), ["val_4.png", "category_id [3]"]),
        (lambda c: _first_segments(c).append(7), ["val_4.png", "segment 7 is no object"]),
        (lambda c: c["images"][0].update(file_name=3), ["the file_name 3", "wrong type"]),
        (lambda c: c["annotations"][0].update(image_id=[4]), ["val_4.png", "the image_id [4]"]),
        (lambda c: c["images"][0].update(file_name="x.jpg"), ["x.jpg", "lacks the images"]),
        (lambda c: c["annotations"][0].update(file_name="x.png"), ["x.png", "lacks"]),
    ],
)
def test_contradictions(
    coco_cfg: CfgNode, edit_json: Edit, change: Callable[[Json], Any], words: List[str]
) -> None:
    path = edit_json(change)
    register_datasets(coco_cfg)
    with pytest.raises(DatasetError) as error:
        DatasetCatalog.get("tiny_val")
    for word in [*words, str(path)]:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.pop("categories"), ["categories"]),
        (lambda c: c.update(categories=[]), ["no categories"]),
        (lambda c: c.update(categories=[1]), ["objects only"]),
        (lambda c: c["categories"][0].pop("isthing"), ["no isthing"]),
        (lambda c: c["categories"][0].update(id=7), ["several categories have the id 7"]),
        (lambda c: c["categories"][0].update(name="sky"), ["several categories have the name sky"]),
        (
            lambda c: c.update(
                categories=[{"id": i, "name": str(i), "isthing": 0} for i in range(256)]
            ),
            ["256 categories"],
        ),
        (lambda c: c["categories"][0].update(name=7), ["has the name 7, which has the wrong type"]),
        (lambda c: c["categories"][0].update(color="#ff0000"), ["the color '#ff0000'; give three"]),
        (lambda c: c["categories"][0].update(color=[1, 2, 256]), ["the color [1, 2, 256]"]),
        (lambda c: c["categories"].reverse(), ["tiny_train and tiny_val", "different categories"]),
    ],
)
def test_unusable_categories(
    coco_cfg: CfgNode, edit_json: Edit, change: Callable[[Json], Any], words: List[str]
) -> None:
    path = edit_json(change)
    with pytest.raises(DatasetError) as error:
        register_datasets(coco_cfg)
    for word in [*words, str(path)]:
        assert word in str(error.value)


def test_png_that_the_json_does_not_list(coco_cfg: CfgNode, coco_root: Path) -> None:
    folder = coco_root / "panoptic_val"
    shutil.copy(folder / "val_4.png", folder / "stray.png")
    register_datasets(coco_cfg)
    with pytest.raises(DatasetError, match="holds stray.png, which .* does not list"):
        DatasetCatalog.get("tiny_val")


def test_overlays_of_predictions_are_no_annotations(coco_cfg: CfgNode, coco_root: Path) -> None:
    folder, file = coco_root / "panoptic_val", coco_root / "panoptic_val.json"
    for path in sorted(folder.iterdir()):
        shutil.copy(path, folder / f"{path.stem}_overlay.png")
        path.rename(folder / f"{path.stem}_panoptic.png")
    content = json.loads(file.read_text())
    for annotation in content["annotations"]:
        name = annotation["file_name"]
        annotation["file_name"] = name.replace(".png", "_panoptic.png")
    file.write_text(json.dumps(content))
    register_datasets(coco_cfg)
    assert len(DatasetCatalog.get("tiny_val")) == 2
    shutil.copy(folder / "val_4_overlay.png", folder / "other_overlay.png")
    with pytest.raises(DatasetError, match="holds other_overlay.png, which"):
        DatasetCatalog.get("tiny_val")


def test_missing_png(coco_cfg: CfgNode, coco_root: Path) -> None:
    (coco_root / "panoptic_val" / "val_9.png").unlink()
    register_datasets(coco_cfg)
    with pytest.raises(DatasetError, match="panoptic_val lacks val_9.png"):
        DatasetCatalog.get("tiny_val")


@pytest.mark.parametrize("folder", ["val", "panoptic_val"])
def test_missing_folder(coco_cfg: CfgNode, coco_root: Path, folder: str) -> None:
    shutil.rmtree(coco_root / folder)
    register_datasets(coco_cfg)
    with pytest.raises(DatasetError, match=f"{folder}' is not a folder.*DATASETS.PANOPTIC"):
        DatasetCatalog.get("tiny_val")


def test_json_with_a_byte_order_mark(coco_cfg: CfgNode, coco_root: Path) -> None:
    path = coco_root / "panoptic_val.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    register_datasets(coco_cfg)
    assert len(DatasetCatalog.get("tiny_val")) == 2


@pytest.mark.parametrize("text", ["{", json.dumps([1])])
def test_no_json(coco_cfg: CfgNode, coco_root: Path, text: str) -> None:
    (coco_root / "panoptic_val.json").write_text(text)
    with pytest.raises(DatasetError, match="panoptic_val.json (is not a JSON file|holds a list)"):
        register_datasets(coco_cfg)
