"""The command ``show-dataset``: sheets of training and validation data."""

import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
from PIL import Image

from effps_solo.__main__ import main

pytestmark = pytest.mark.usefixtures("fresh_loggers")


def run(config: Path, output: Path, *words: str) -> int:
    return main(["show-dataset", "--config-file", str(config), "--output", str(output), *words])


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_sheets(tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "some" / "sheets"
    assert run(tiny_config, output, "--tile-width", "96") == 0
    assert "tiny_train.png" in capsys.readouterr().out
    train, val = read(output / "tiny_train.png"), read(output / "tiny_val.png")
    # Two images as two rows of three views, and side by side.
    assert train.shape[0] > 2 * 64 and val.shape[0] < 2 * 64 + 60
    assert train.shape[1] >= 3 * 96 and val.shape[1] >= 2 * 96
    # Without augmentation (scale 1, crop of the image's size) all views of an image are the same.
    first, second = train[20:84, 8:104], train[20:84, 112:208]
    assert (first == second).all() and len(np.unique(first.reshape(-1, 3), axis=0)) > 50


def test_the_seed_decides(tiny_config: Path, tmp_path: Path) -> None:
    words = ["--num", "1", "--tile-width", "96", "--opts", "INPUT.SCALE_RANGE", "(0.5, 2.0)"]
    sheets = []
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        assert run(tiny_config, tmp_path / name, "--seed", seed, *words) == 0
        sheets.append(read(tmp_path / name / "tiny_train.png"))
    a, b, c = sheets
    assert a.shape == b.shape and (a == b).all()
    assert a.shape != c.shape or (a != c).any()
    assert (a[20:84, 112:208] != a[20:84, 216:312]).any()  # the views of one image differ


def test_only_some_images(tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(tiny_config, tmp_path / "a", "--only", "1.png", "--tile-width", "96") == 0
    assert read(tmp_path / "a" / "tiny_train.png").shape[0] < 2 * 64 + 60
    assert run(tiny_config, tmp_path / "b", "--only", "nothing") == 2
    assert "'tiny_train' has no image with ['nothing']" in capsys.readouterr().err


def test_bgr_models_show_the_same_colours(tiny_config: Path, tmp_path: Path) -> None:
    for form in ("RGB", "BGR"):
        words = ["--tile-width", "96", "--opts", "INPUT.FORMAT", form]
        assert run(tiny_config, tmp_path / form, *words) == 0
    rgb, bgr = (read(tmp_path / form / "tiny_val.png") for form in ("RGB", "BGR"))
    assert (rgb == bgr).all()


def test_annotations_without_panoptic_pngs(
    tiny_set: Path, tiny_config: Path, tmp_path: Path
) -> None:
    from detectron2.data import DatasetCatalog, MetadataCatalog

    labels = np.zeros((64, 96), dtype=np.uint8)
    labels[8:40, 8:40] = 1
    Image.fromarray(labels).save(tmp_path / "labels.png")
    annotation = {
        "category_id": 0,
        "bbox": [8, 8, 32, 32],
        "bbox_mode": 1,
        "segmentation": [[8, 8, 40, 8, 40, 40, 8, 40]],
    }
    record: Dict[str, Any] = {
        "file_name": str(tiny_set / "train" / "0.png"),
        "height": 64,
        "width": 96,
        "image_id": 0,
        "sem_seg_file_name": str(tmp_path / "labels.png"),
        "annotations": [annotation],
    }
    DatasetCatalog.register("polygons", lambda: [record])
    MetadataCatalog.get("polygons").set(
        thing_classes=["?", "car"],
        stuff_classes=["road"],
        thing_dataset_id_to_contiguous_id={5: 1},
        stuff_dataset_id_to_contiguous_id={6: 0},
    )
    words = ["--opts", "DATASETS.TRAIN", "('polygons',)", "DATASETS.TEST", "()"]
    words += ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", "2", "MODEL.INSTANCE_HEAD.NUM_CLASSES", "1"]
    assert run(tiny_config, tmp_path / "out", "--tile-width", "96", *words) == 0
    tile = read(tmp_path / "out" / "polygons.png")[20:84, 8:104]
    white = (tile == 255).all(axis=-1)
    y, x = np.nonzero(white)
    assert (x.min(), x.max(), y.min(), y.max()) == (8, 39, 8, 39)  # the outline


@pytest.mark.parametrize("words", [["--num", "0"], ["--tile-width", "-3"]])
def test_wrong_numbers(tiny_config: Path, tmp_path: Path, words: List[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        run(tiny_config, tmp_path, *words)
    assert exit_info.value.code == 2


def test_an_output_that_is_a_file(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    assert run(tiny_config, tmp_path / "file", "--tile-width", "32") == 2
    assert "cannot write" in capsys.readouterr().err


def test_damaged_data_point_to_the_check(
    tiny_set: Path, tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tiny_set / "panoptic_train.json"
    content = json.loads(path.read_text())
    content["images"].pop()
    path.write_text(json.dumps(content))
    assert run(tiny_config, tmp_path / "out") == 2
    assert "'images' does not list" in capsys.readouterr().err
