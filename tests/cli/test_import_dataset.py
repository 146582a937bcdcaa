"""effps-solo import-dataset: from the files that people have to records that training reads."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from effps_solo import add_effps_solo_config
from effps_solo.__main__ import main
from effps_solo.data.datasets.registration import register_datasets

Run = Callable[..., int]


def write_image(path: Path, height: int = 20, width: int = 30) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), 90, dtype=np.uint8)).save(path)


def write_labelme(folder: Path, count: int, height: int = 20, width: int = 30) -> None:
    for k in range(count):
        write_image(folder / f"{k}.jpg", height, width)
        shapes = [
            {"label": "road", "points": [[0, 9], [29, 19]], "shape_type": "rectangle"},
            {"label": "car", "points": [[k % 9, 5], [9 + k % 9, 5], [9, 12]], "group_id": None},
        ]
        content = {"shapes": shapes, "imageHeight": height, "imageWidth": width}
        (folder / f"{k}.json").write_text(json.dumps(content))


def records(description: Path, *splits: str) -> List[Dict[str, Any]]:
    """The records of a description's splits, as training gets them."""
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.DATASETS.DESCRIPTIONS = (str(description),)
    cfg.DATASETS.TRAIN = tuple(f"{description.stem}_{split}" for split in splits)
    cfg.DATASETS.TEST = ()
    register_datasets(cfg)
    return [record for name in cfg.DATASETS.TRAIN for record in DatasetCatalog.get(name)]


@pytest.fixture
def run(tmp_path: Path, clean_catalogs: None) -> Run:
    def start(kind: str, annotations: str, *words: str) -> int:
        command = ["import-dataset", "--from", kind, "--annotations", str(tmp_path / annotations)]
        return main([*command, "--output", str(tmp_path / "out"), "--workers", "1", *words])

    return start


def test_labelme(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_labelme(tmp_path / "raw", 12)
    assert run("labelme", "raw", "--val-fraction", "0.4") == 0
    classes = tmp_path / "out" / "classes.yaml"
    output = capsys.readouterr().out
    assert f"wrote {classes}" in output and "-m effps_solo import-dataset --from" in output
    assert "road, isthing: 1}  # 12 annotations" in classes.read_text()
    assert not list((tmp_path / "out").glob("panoptic_*"))
    classes.write_text(classes.read_text().replace("road, isthing: 1", "road, isthing: 0"))
    assert run("labelme", "raw", "--val-fraction", "0.4") == 0
    output = capsys.readouterr().out
    assert "out_train: " in output and "out_val: " in output and "out.yaml" in output
    found = records(tmp_path / "out" / "out.yaml", "train", "val")
    assert len(found) == 12
    assert all(os.path.isfile(record["file_name"]) for record in found)
    assert {len(record["segments_info"]) for record in found} == {2}
    metadata = MetadataCatalog.get("out_val")
    assert metadata.thing_classes == ["car", "road"]
    assert len(metadata.thing_dataset_id_to_contiguous_id) == 1


def test_cityscapes_polygons(run: Run, tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_image(tmp_path / split / "images" / "1_leftImg8bit.png")
        polygon = {"label": "road", "polygon": [[0, 0], [29, 0], [29, 19]]}
        content = {"imgHeight": 20, "imgWidth": 30, "objects": [polygon]}
        path = tmp_path / split / "gt" / "1_gtFine_polygons.json"
        path.parent.mkdir()
        path.write_text(json.dumps(content))
    (tmp_path / "list.yaml").write_text("- {name: road, isthing: 0, id: 0}")
    for split in ("train", "val"):
        words = ["--images", str(tmp_path / split / "images"), "--split", split, "--name", "town"]
        words += ["--classes", str(tmp_path / "list.yaml")]
        assert run("cityscapes-polygons", f"{split}/gt", *words) == 0
    assert len(records(tmp_path / "out" / "town.yaml", "train", "val")) == 2


def test_coco_instances(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_image(tmp_path / "coco" / "a.jpg")
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 20, "width": 30}],
        "categories": [{"id": 18, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 18, "segmentation": [[2, 2, 9, 2, 9, 9]]}
        ],
    }
    (tmp_path / "coco" / "instances.json").write_text(json.dumps(content))
    assert run("coco-instances", "coco/instances.json") == 0
    assert "no class is stuff: pixels outside of all objects are void" in capsys.readouterr().out
    (record,) = records(tmp_path / "out" / "out.yaml", "train")
    assert [s["category_id"] for s in record["segments_info"]] == [0]
    assert run("labelme", "coco", "--semantic", "x") == 2
    assert "--semantic is for coco-instances" in capsys.readouterr().err


def test_unusable_words(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        run("labelme", "raw", "--val-fraction", "1")
    assert run("labelme", "raw", "--split", "val", "--val-fraction", "0.1") == 2
    assert run("labelme", "nowhere") == 2
    assert "nowhere' is no folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_output_that_is_a_file(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_labelme(tmp_path / "raw", 1)
    (tmp_path / "out").write_text("")
    assert run("labelme", "raw") == 2
    assert "cannot write to --output" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_half_done(
    run: Run, tmp_path: Path, project_root: Path
) -> None:
    write_labelme(tmp_path / "raw", 300, height=400, width=600)
    run("labelme", "raw")  # writes classes.yaml
    command = [sys.executable, "-m", "effps_solo", "import-dataset", "--from", "labelme"]
    command += ["--annotations", str(tmp_path / "raw"), "--output", str(tmp_path / "out")]
    process = subprocess.Popen(
        [*command, "--workers", "2"],
        cwd=project_root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    journal = tmp_path / "out" / ".panoptic_train.journal"
    try:
        deadline = time.time() + 120
        while not journal.is_file() or journal.read_text().count("\n") < 20:
            assert process.poll() is None and time.time() < deadline
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the workers, too
        process.wait()
    assert not (tmp_path / "out" / "panoptic_train.json").exists()
    pngs = list((tmp_path / "out" / "panoptic_train").glob("[!.]*.png"))
    assert 20 <= len(pngs) < 300
    for path in pngs:
        with Image.open(path) as image:
            image.load()
    before = {path: path.stat().st_mtime_ns for path in pngs}
    lines = journal.read_text().count("\n")
    assert run("labelme", "raw") == 0
    kept = [path for path, time_ns in before.items() if path.stat().st_mtime_ns == time_ns]
    assert len(kept) >= lines - 1
    assert not list((tmp_path / "out").rglob("*.part"))
    assert len(records(tmp_path / "out" / "out.yaml", "train")) == 300
