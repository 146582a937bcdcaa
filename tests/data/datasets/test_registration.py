"""What a config registers, when it is repeated, and what is wrong with it."""

import shutil
from pathlib import Path

import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from effps_solo.data.datasets.files import DatasetError
from effps_solo.data.datasets.registration import check_dataset_available, register_datasets
from effps_solo.utils.errors import UserError


def test_twice_is_once(coco_cfg: CfgNode) -> None:
    register_datasets(coco_cfg)
    before = MetadataCatalog.get("tiny_val").as_dict()
    register_datasets(coco_cfg)
    assert MetadataCatalog.get("tiny_val").as_dict() == before
    check_dataset_available("tiny_train")
    check_dataset_available("tiny_val")


def test_another_description_under_the_same_name(
    coco_cfg: CfgNode, coco_root: Path, tmp_path: Path
) -> None:
    register_datasets(coco_cfg)
    other = tmp_path / "other"
    shutil.copytree(coco_root, other)
    coco_cfg.DATASETS.PANOPTIC.ROOT = str(other)
    with pytest.raises(ValueError, match="'tiny_train' is registered already with another"):
        register_datasets(coco_cfg)


def test_a_name_of_detectron2_is_not_shadowed(coco_cfg: CfgNode) -> None:
    coco_cfg.DATASETS.PANOPTIC.NAME = "coco_2017"
    with pytest.raises(ValueError, match="'coco_2017_train' is registered already"):
        register_datasets(coco_cfg)


def test_root_from_the_environment(
    coco_cfg: CfgNode, coco_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_FOLDER", str(coco_root.parent))
    coco_cfg.DATASETS.PANOPTIC.ROOT = "$TINY_FOLDER/tiny"
    register_datasets(coco_cfg)
    assert MetadataCatalog.get("tiny_val").image_root == str(coco_root / "val")


def test_root_in_the_home_folder(
    coco_cfg: CfgNode, coco_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(coco_root.parent))
    coco_cfg.DATASETS.PANOPTIC.ROOT = "~/tiny"
    register_datasets(coco_cfg)
    assert MetadataCatalog.get("tiny_val").image_root == str(coco_root / "val")


def test_empty_root_is_the_data_root(
    coco_cfg: CfgNode, coco_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(coco_root.parent))
    coco_cfg.DATASETS.PANOPTIC.ROOT = ""
    register_datasets(coco_cfg)
    assert MetadataCatalog.get("tiny_val").image_root == str(coco_root / "val")


def test_unset_variable_in_root(coco_cfg: CfgNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINY_FOLDER", raising=False)
    coco_cfg.DATASETS.PANOPTIC.ROOT = "$TINY_FOLDER/tiny"
    with pytest.raises(DatasetError, match=r"\$TINY_FOLDER/tiny.*not set"):
        register_datasets(coco_cfg)


def test_missing_root(coco_cfg: CfgNode) -> None:
    coco_cfg.DATASETS.PANOPTIC.ROOT = "/nowhere/tiny"
    message = "/nowhere/tiny' is not a folder; set DATASETS.PANOPTIC.ROOT .* DETECTRON2_DATASETS"
    with pytest.raises(DatasetError, match=message):
        register_datasets(coco_cfg)


def test_only_the_splits_in_use_must_exist(coco_cfg: CfgNode, coco_root: Path) -> None:
    (coco_root / "panoptic_train.json").unlink()
    coco_cfg.DATASETS.TRAIN = ("tiny_val",)
    register_datasets(coco_cfg)
    assert "tiny_val" in DatasetCatalog
    assert "tiny_train" not in DatasetCatalog
    coco_cfg.DATASETS.TRAIN = ("tiny_train",)
    with pytest.raises(DatasetError, match="panoptic_train.json' is missing.*DATASETS.PANOPTIC"):
        register_datasets(coco_cfg)


def test_no_split_exists(coco_cfg: CfgNode) -> None:
    coco_cfg.DATASETS.PANOPTIC.SPLITS = ("test",)
    coco_cfg.DATASETS.TRAIN = coco_cfg.DATASETS.TEST = ()
    with pytest.raises(DatasetError, match="tiny: none of .*panoptic_test.json.*DATASETS.PANOPTIC"):
        register_datasets(coco_cfg)


def test_wrong_placeholder(coco_cfg: CfgNode) -> None:
    coco_cfg.DATASETS.PANOPTIC.IMAGES = "{part}"
    with pytest.raises(UserError, match="DATASETS.PANOPTIC.IMAGES is '{part}'"):
        register_datasets(coco_cfg)


@pytest.mark.parametrize("key", ["TRAIN", "TEST"])
def test_unknown_name(coco_cfg: CfgNode, key: str) -> None:
    coco_cfg.DATASETS[key] = ("tiny_vall",)
    message = f"DATASETS.{key} names 'tiny_vall', which is not registered; did you mean tiny_val"
    with pytest.raises(ValueError, match=message):
        register_datasets(coco_cfg)


def test_availability(coco_cfg: CfgNode, coco_root: Path) -> None:
    with pytest.raises(DatasetError, match="'tiny_val' is not registered"):
        check_dataset_available("tiny_val")
    register_datasets(coco_cfg)
    shutil.rmtree(coco_root / "val")
    with pytest.raises(DatasetError, match="'tiny_val': image folder .*set DETECTRON2_DATASETS"):
        check_dataset_available("tiny_val")


def test_availability_of_cityscapes() -> None:
    with pytest.raises(DatasetError, match="'cityscapes_fine_panoptic_val'.*leftImg8bit"):
        check_dataset_available("cityscapes_fine_panoptic_val")


def test_path_that_the_cityscapes_loader_cuts(tmp_path: Path) -> None:
    metadata = MetadataCatalog.get("cityscapes_fine_panoptic_val").as_dict()
    MetadataCatalog.remove("cityscapes_fine_panoptic_val")
    root = tmp_path / "v1.0"
    metadata.update(
        image_root=str(root), gt_dir=str(root), panoptic_root=str(root), panoptic_json=__file__
    )
    root.mkdir()
    MetadataCatalog.get("cityscapes_fine_panoptic_val").set(**metadata)
    with pytest.raises(DatasetError, match="cannot read paths with a dot.*v1.0"):
        check_dataset_available("cityscapes_fine_panoptic_val")
