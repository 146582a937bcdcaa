"""What is known of published data sets without their files."""

import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Tuple

import pytest
from cityscapesscripts.helpers.labels import labels as cityscapes_labels
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.builtin_meta import (
    ADE20K_SEM_SEG_CATEGORIES,
    CITYSCAPES_CATEGORIES,
    COCO_CATEGORIES,
)

from effps_solo.cli.env import DATA_SETS
from effps_solo.config.defaults import add_effps_solo_config
from effps_solo.data.datasets.families import FAMILIES
from effps_solo.data.datasets.files import DatasetError
from effps_solo.data.datasets.registration import check_dataset_available, register_datasets
from effps_solo.structures.label_space import PanopticLabelSpace

# Family -> (classes, things), as published:
OFFICIAL: Dict[str, Tuple[int, int]] = {
    "cityscapes": (19, 8),  # Cordts et al., CVPR 2016: 30 classes, 19 evaluated, 8 with instances
    "coco": (133, 80),  # the panoptic task: 80 things of detection, 53 stuff
    "kitti": (19, 8),  # Mohan & Valada, IJCV 2021: the classes of Cityscapes
    "vistas_v1.2": (65, 37),  # Neuhold et al., ICCV 2017: 66 with void, 37 with instances
    "vistas_v2.0": (116, 70),  # 124: 70 with instances, 46 stuff, 8 void or crowd
    "idd": (26, 9),  # Varma et al., WACV 2019: 26 of level 3; 17 stuff and 9 things
    "ade20k": (150, 100),  # challenges of 2016 (scene parsing) and 2017 (instances)
}


@pytest.fixture(autouse=True)
def registered(clean_catalogs: None) -> None:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    register_datasets(cfg)


def metadata_of(name: str, split: str = "val") -> Any:
    return MetadataCatalog.get(FAMILIES[name].dataset_name(split))


@pytest.mark.parametrize("name", list(FAMILIES))
def test_class_counts(name: str) -> None:
    for split in FAMILIES[name].splits:
        assert FAMILIES[name].dataset_name(split) in DatasetCatalog
        metadata = metadata_of(name, split)
        label_space = PanopticLabelSpace.from_metadata(metadata)
        assert (label_space.num_classes, label_space.num_things) == OFFICIAL[name]
        for key in ("thing_classes", "stuff_classes", "thing_colors", "stuff_colors"):
            assert len(getattr(metadata, key)) == label_space.num_classes
        names = metadata.thing_classes
        assert len(set(names)) == len(names) and all(n == n.strip() and n for n in names)
        for color in metadata.thing_colors:
            assert len(color) == 3 and all(0 <= channel <= 255 for channel in color)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_paths_are_those_of_the_catalog(name: str, tmp_path: Path) -> None:
    for split in FAMILIES[name].splits:
        metadata = metadata_of(name, split)
        # Detectron2 read the data root when it was imported.
        root = "" if FAMILIES[name].classes else metadata.image_root.split(f"/{name}/")[0]
        files = FAMILIES[name].files(split, root)
        assert files.images == metadata.image_root
        assert files.panoptic_png == metadata.panoptic_root
        assert files.panoptic_json == metadata.panoptic_json
        assert FAMILIES[name].dataset_name(split) == metadata.name


@pytest.mark.parametrize("name", list(FAMILIES))
def test_missing_data_name_the_script(name: str, project_root: Path) -> None:
    script = FAMILIES[name].script
    assert (project_root / "datasets" / script).is_file()
    command = f"python datasets/{script}" + f" --family {name}" * name.startswith("vistas")
    with pytest.raises(DatasetError, match=f"`{command}`.*DETECTRON2_DATASETS"):
        check_dataset_available(FAMILIES[name].dataset_name("train"))


def test_kitti_has_the_classes_of_cityscapes() -> None:
    ours = metadata_of("kitti").as_dict()
    theirs = metadata_of("cityscapes").as_dict()
    assert ours["thing_classes"] == theirs["thing_classes"]
    assert ours["thing_colors"] == [list(color) for color in theirs["thing_colors"]]
    for key in ("thing_dataset_id_to_contiguous_id", "stuff_dataset_id_to_contiguous_id"):
        assert ours[key] == theirs[key]
    assert [c["name"] for c in CITYSCAPES_CATEGORIES] == ours["thing_classes"]


def test_coco_is_detectron2s() -> None:
    things = [c["name"] for c in COCO_CATEGORIES if c["isthing"]]
    metadata = metadata_of("coco")
    assert metadata.thing_classes[:80] == things
    assert set(metadata.thing_dataset_id_to_contiguous_id.values()) == set(range(80))


def test_vistas() -> None:
    old, new = metadata_of("vistas_v1.2"), metadata_of("vistas_v2.0")
    # "instances" in the config file.
    things = {old.thing_classes[i] for i in old.thing_dataset_id_to_contiguous_id.values()}
    assert {"Bird", "Person", "Lane Marking - Crosswalk", "Wheeled Slow"} <= things
    assert things.isdisjoint({"Pothole", "On Rails", "Road", "Ego Vehicle"})
    assert old.thing_dataset_id_to_contiguous_id[1] == 0  # Bird
    assert old.stuff_dataset_id_to_contiguous_id[65] == 64  # Ego Vehicle
    assert old.thing_classes[-1] == new.thing_classes[118 - 5] == "Ego Vehicle"
    # What config_v2.0.json does not evaluate.
    assert {
        "Ambiguous Barrier",
        "Person Group",
        "Lane Marking - Ambiguous",
        "Signage - Ambiguous",
        "Pole Group",
        "Traffic Sign - Ambiguous",
        "Vehicle Group",
        "Unlabeled",
    }.isdisjoint(new.thing_classes)
    ids = {**new.thing_dataset_id_to_contiguous_id, **new.stuff_dataset_id_to_contiguous_id}
    absent = set(range(1, 125)) - set(ids)
    assert absent == {3, 32, 39, 80, 87, 97, 116, 124}


def test_idd() -> None:
    metadata = metadata_of("idd")
    label_space = PanopticLabelSpace.from_metadata(metadata)
    assert label_space.thing_ids == tuple(range(4, 13))
    assert [label_space.dataset_id(i) for i in range(26)] == list(range(26))
    classes = FAMILIES["idd"].classes
    assert classes is not None
    found = {label: classes().find(label) for label in ("animal", "train", "tunnel", "polegroup")}
    names = {label: category and category["name"] for label, category in found.items()}
    assert names == {
        "animal": "person",
        "train": "vehicle fallback",
        "tunnel": "bridge",
        "polegroup": "pole",
    }
    assert classes().find("license plate") is None


def test_ade20k_has_the_names_of_detectron2() -> None:
    assert metadata_of("ade20k").thing_classes == [n.strip() for n in ADE20K_SEM_SEG_CATEGORIES]
    colors = [tuple(color) for color in metadata_of("ade20k").thing_colors]
    assert len(set(colors)) == 150


def test_cityscapes_labels_agree_with_cityscapesscripts() -> None:
    metadata = metadata_of("kitti")
    evaluated = {label.trainId: label for label in cityscapes_labels if not label.ignoreInEval}
    assert [evaluated[i].name for i in range(19)] == metadata.thing_classes
    things = metadata.thing_dataset_id_to_contiguous_id
    assert things == {e.id: i for i, e in evaluated.items() if e.hasInstances}


def test_env_finds_them_by_what_is_made() -> None:
    made = {family.path("", family.panoptic_json, "train") for family in FAMILIES.values()}
    assert made <= set(DATA_SETS.values())


def test_preparing_needs_neither_torch_nor_detectron2(project_root: Path) -> None:
    code = (
        "import sys; from effps_solo.data.datasets.prepare import main; "
        "print({'torch', 'detectron2'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=project_root, capture_output=True, text=True)
    assert result.stdout.strip() == "set()", result.stderr
