"""Generated street scenes are read as Detectron2 reads Cityscapes, under names of their own."""

import json
import shutil
from pathlib import Path

import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.cityscapes_panoptic import load_cityscapes_panoptic

from effps_solo.data.datasets.files import DatasetError
from effps_solo.data.datasets.registration import check_dataset_available, register_datasets
from effps_solo.street_scenes import SetParameters, generate
from effps_solo.structures.label_space import PanopticLabelSpace

NAMES = ("street_scenes_panoptic_train", "street_scenes_panoptic_val")
COMMAND = "python datasets/generate_street_scenes.py"


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root without a dot that holds one image a split."""
    root = tmp_path_factory.mktemp("generated")
    parameters = SetParameters(num_train=1, num_val=1, height=64, width=128)
    generate(root / "street_scenes", parameters, 1)
    return root


@pytest.fixture
def data_folder(generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the data root, in use, that a test may damage."""
    root = tmp_path / "data"
    shutil.copytree(generated, root)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    for name in NAMES:
        DatasetCatalog.pop(name, None)
        MetadataCatalog.pop(name, None)
    return root


def test_as_detectron2_reads_cityscapes(cfg: CfgNode, data_folder: Path) -> None:
    register_datasets(cfg)
    for split, name in zip(("train", "val"), NAMES):
        check_dataset_available(name)
        metadata = MetadataCatalog.get(name)
        expected = load_cityscapes_panoptic(
            metadata.image_root, metadata.panoptic_root, metadata.panoptic_json, metadata.as_dict()
        )
        assert len(expected) == 1
        assert DatasetCatalog.get(name) == expected
        assert metadata.gt_dir == str(data_folder / "street_scenes" / "gtFine" / split)


def test_metadata_are_those_of_cityscapes(cfg: CfgNode, data_folder: Path) -> None:
    register_datasets(cfg)
    metadata = MetadataCatalog.get(NAMES[1]).as_dict()
    cityscapes = MetadataCatalog.get("cityscapes_fine_panoptic_val").as_dict()
    paths = {"name", "image_root", "gt_dir", "panoptic_root", "panoptic_json"}
    assert set(metadata) == set(cityscapes)
    assert {key for key in metadata if metadata[key] != cityscapes[key]} == paths
    label_space = PanopticLabelSpace.from_metadata(MetadataCatalog.get(NAMES[1]))
    assert label_space.thing_ids == tuple(range(11, 19))


def test_root_with_a_dot(cfg: CfgNode, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data_folder.parent)
    monkeypatch.setenv("DETECTRON2_DATASETS", "./data")
    register_datasets(cfg)
    record = DatasetCatalog.get(NAMES[1])[0]
    for key in ("file_name", "pan_seg_file_name", "sem_seg_file_name"):
        assert Path(record[key]).is_file()


def test_missing_root_names_the_generator(cfg: CfgNode, data_folder: Path) -> None:
    shutil.rmtree(data_folder / "street_scenes")
    register_datasets(cfg)
    for look in (DatasetCatalog.get, check_dataset_available):
        with pytest.raises(DatasetError, match=COMMAND):
            look(NAMES[0])


@pytest.mark.parametrize(
    "pattern", ["leftImg8bit/val/*/*.png", "gtFine/cityscapes_panoptic_val/*.png"]
)
def test_missing_file(cfg: CfgNode, data_folder: Path, pattern: str) -> None:
    (path,) = (data_folder / "street_scenes").glob(pattern)
    path.unlink()
    register_datasets(cfg)
    with pytest.raises(DatasetError, match=COMMAND) as error:
        DatasetCatalog.get(NAMES[1])
    assert path.name[:20] in str(error.value)


def test_unknown_class(cfg: CfgNode, data_folder: Path) -> None:
    path = data_folder / "street_scenes" / "gtFine" / "cityscapes_panoptic_val.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segments_info"][0]["category_id"] = 5
    path.write_text(json.dumps(content))
    register_datasets(cfg)
    with pytest.raises(DatasetError, match="cityscapes_panoptic_val.json.*--overwrite"):
        DatasetCatalog.get(NAMES[1])
