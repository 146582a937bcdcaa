"""Descriptions of data sets: what a file says, where its paths lead, and what can be wrong."""

import json
import os
import shutil
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from effps_solo.data.datasets.description import PATHS, SPLITS, descriptions, read_description
from effps_solo.data.datasets.files import DatasetError
from effps_solo.data.datasets.registration import register_datasets

Describe = Callable[[str], str]


@pytest.fixture
def describe(coco_root: Path) -> Describe:
    """Write a description beside the tiny data set; returns its path."""

    def write(text: str) -> str:
        path = coco_root / "set.yaml"
        path.write_text(text)
        return str(path)

    return write


def test_a_name_is_enough(describe: Describe, coco_root: Path, cfg: CfgNode) -> None:
    cfg.DATASETS.DESCRIPTIONS = (describe("name: mine"),)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("mine_train",), ("mine_val",)
    register_datasets(cfg)
    metadata = MetadataCatalog.get("mine_val")
    assert metadata.thing_classes == ["person", "car", "road", "sky"]
    assert metadata.image_root == str(coco_root / "val")
    assert metadata.panoptic_root == str(coco_root / "panoptic_val")
    assert metadata.panoptic_json == str(coco_root / "panoptic_val.json")
    assert len(DatasetCatalog.get("mine_train")) == 2


def test_json_is_as_good(describe: Describe, coco_root: Path) -> None:
    path = describe(json.dumps({"name": "mine", "splits": ["val"], "images": "images/{split}"}))
    description = read_description(path)
    assert description.name == "mine"
    assert set(description.splits) == {"mine_val"}
    assert description.splits["mine_val"].images == str(coco_root / "images" / "val")


def test_the_keys_of_a_config_are_the_same_fields(
    describe: Describe, coco_root: Path, cfg: CfgNode
) -> None:
    node = cfg.DATASETS.PANOPTIC
    assert {field: node[field.upper()] for field in PATHS} == PATHS
    assert list(node.SPLITS) == SPLITS
    cfg.DATASETS.DESCRIPTIONS = (describe("{name: mine, images: 'a/{split}'}"),)
    node.NAME, node.ROOT, node.IMAGES = "mine", str(coco_root), "a/{split}"
    from_file, from_keys = descriptions(cfg)
    for name, files in from_file.splits.items():
        for field in PATHS:
            assert getattr(files, field) == getattr(from_keys.splits[name], field)


def test_paths_are_seen_from_the_file(
    describe: Describe, coco_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe("name: mine")
    monkeypatch.chdir(coco_root.parent)
    files = read_description("tiny/set.yaml").splits["mine_val"]
    assert os.path.samefile(files.panoptic_json, coco_root / "panoptic_val.json")
    elsewhere = tmp_path / "descriptions"
    elsewhere.mkdir()
    (elsewhere / "set.yaml").write_text("{name: mine, root: ../data/tiny}")
    files = read_description(str(elsewhere / "set.yaml")).splits["mine_val"]
    assert files.panoptic_json == str(coco_root / "panoptic_val.json")


def test_absolute_paths_and_variables(
    describe: Describe, coco_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOTOS", str(tmp_path / "photos"))
    monkeypatch.setenv("TINY_FOLDER", str(coco_root.parent))
    text = f"{{name: mine, root: $TINY_FOLDER/tiny, images: '$PHOTOS/{{split}}', panoptic_png: {tmp_path}}}"
    files = read_description(describe(text)).splits["mine_train"]
    assert files.images == str(tmp_path / "photos" / "train")
    assert files.panoptic_png == str(tmp_path)
    assert files.panoptic_json == str(coco_root / "panoptic_train.json")


def test_splits_with_paths_of_their_own(describe: Describe, coco_root: Path) -> None:
    text = """
    name: mine
    panoptic_png: masks
    splits:
      spring: {images: photos, panoptic_json: spring.json}
      autumn:
    """
    splits = read_description(describe(text)).splits
    spring, autumn = splits["mine_spring"], splits["mine_autumn"]
    assert (spring.images, spring.panoptic_json) == (
        str(coco_root / "photos"),
        str(coco_root / "spring.json"),
    )
    assert (autumn.images, autumn.panoptic_json) == (
        str(coco_root / "autumn"),
        str(coco_root / "panoptic_autumn.json"),
    )
    assert spring.panoptic_png == autumn.panoptic_png == str(coco_root / "masks")


def test_several_data_sets(describe: Describe, coco_root: Path, cfg: CfgNode) -> None:
    second = shutil.copytree(coco_root, coco_root.parent / "second")
    (second / "set.json").write_text('{"name": "second"}')
    cfg.DATASETS.DESCRIPTIONS = (describe("name: mine"), str(second / "set.json"))
    cfg.DATASETS.TRAIN = ("mine_train", "second_train")
    cfg.DATASETS.TEST = ("second_val",)
    register_datasets(cfg)
    assert MetadataCatalog.get("second_val").image_root == str(second / "val")


def test_data_sets_of_other_classes_do_not_go_together(
    describe: Describe, coco_root: Path, cfg: CfgNode
) -> None:
    second = shutil.copytree(coco_root, coco_root.parent / "second")
    (second / "set.yaml").write_text("name: second")
    for path in second.glob("*.json"):
        path.write_text(path.read_text().replace('"car"', '"cart"'))
    cfg.DATASETS.DESCRIPTIONS = (describe("name: mine"), str(second / "set.yaml"))
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("mine_train",), ("second_val",)
    message = r"second_val and mine_train differ.*class 1 is cart \(thing\) and car \(thing\)"
    with pytest.raises(ValueError, match=message):
        register_datasets(cfg)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no fields such as 'name: my_set'"),
        ("[1, 2]", "holds no fields"),
        ("name: [", "cannot be read as YAML or JSON"),
        ("name: !!python/object/apply:os.system [ls]", "cannot be read as YAML or JSON"),
        ("root: .", "has no name"),
        ("name:", "'name' in .* holds None"),
        ("name: 2024", "'name' in .* holds 2024, which is no text; put it in quotes"),
        ("{name: a, image: b}", "unknown field 'image'; did you mean 'images'"),
        ("{name: a, classes: 3}", "unknown field 'classes'; there are name, root, splits"),
        ("{name: a, splits: train}", r"'splits' in .* is 'train'; make it a list"),
        ("{name: a, splits: []}", r"'splits' in .* is \[\]; make it a list"),
        ("{name: a, splits: [2017]}", "'splits' in .* holds 2017, which is no text"),
        ("{name: a, splits: {train: b}}", "'splits' in .* gives a split 'b'"),
        ("{name: a, splits: {train: {root: b}}}", "unknown field 'root'"),
        ("{name: a, splits: {train: {images: 1}}}", "'images' in .* holds 1"),
        ("{name: a, images: '{part}'}", "'images' in .* is '{part}'; the only placeholder"),
        (
            "{name: a, root: nowhere}",
            "tiny/nowhere' is not a folder; check the paths in .*set.yaml",
        ),
        ("{name: a, root: $NO_SUCH_FOLDER}", r"\$NO_SUCH_FOLDER' names an environment variable"),
    ],
)
def test_mistakes_name_the_file(describe: Describe, text: str, message: str) -> None:
    path = describe(text)
    with pytest.raises(DatasetError, match=message) as error:
        read_description(path)
    assert path in str(error.value) or "$NO_SUCH_FOLDER" in text


def test_missing_description(cfg: CfgNode) -> None:
    cfg.DATASETS.DESCRIPTIONS = ("none.yaml",)
    message = "'none.yaml' is missing; check DATASETS.DESCRIPTIONS"
    with pytest.raises(DatasetError, match=message):
        register_datasets(cfg)


def test_missing_files_name_the_description(
    describe: Describe, coco_root: Path, cfg: CfgNode
) -> None:
    path = describe("name: mine")
    cfg.DATASETS.DESCRIPTIONS, cfg.DATASETS.TRAIN = (path,), ("mine_train",)
    cfg.DATASETS.TEST = ()
    (coco_root / "panoptic_train.json").unlink()
    with pytest.raises(DatasetError, match=f"panoptic_train.json' is missing; .*{path}"):
        register_datasets(cfg)


Change = Callable[[Dict[str, Any]], Any]


@pytest.mark.parametrize(
    "change", [{"id": "7"}, {"id": None}, {"isthing": "0"}, {"isthing": 2}], ids=str
)
def test_unusable_ids_and_kinds(
    describe: Describe, edit_json: Callable[[Change], Path], cfg: CfgNode, change: Dict[str, Any]
) -> None:
    path = edit_json(lambda content: content["categories"][0].update(change))
    cfg.DATASETS.DESCRIPTIONS = (describe("name: mine"),)
    with pytest.raises(DatasetError, match="needs an integer as its id, and 0 or 1") as error:
        register_datasets(cfg)
    assert str(path) in str(error.value)


def test_splits_may_share_the_folders(describe: Describe, coco_root: Path, cfg: CfgNode) -> None:
    """Folds of a cross-validation are JSONs over the same images and PNGs."""
    whole = json.loads((coco_root / "panoptic_val.json").read_text())
    for name, part in (("a", slice(0, 1)), ("b", slice(1, None))):
        fold = {**whole, "images": whole["images"][part], "annotations": whole["annotations"][part]}
        (coco_root / f"{name}.json").write_text(json.dumps(fold))
    paths = "images: val, panoptic_png: panoptic_val, panoptic_json: '{split}.json'"
    cfg.DATASETS.DESCRIPTIONS = (describe(f"{{name: fold, splits: [a, b], {paths}}}"),)
    register_datasets(cfg)
    assert len(DatasetCatalog.get("fold_a")) == 1
    assert len(DatasetCatalog.get("fold_b")) == len(whole["images"]) - 1
    shutil.copy(coco_root / "panoptic_val" / "val_4.png", coco_root / "panoptic_val" / "stray.png")
    with pytest.raises(DatasetError, match="holds stray.png, which .*a.json does not list"):
        DatasetCatalog.get("fold_a")
