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


def swap_classes(root: Path, image_id: int) -> None:
    """Call the roads of a training image sky, and the other way round."""
    path = root / "panoptic_train.json"
    content = json.loads(path.read_text())
    other = {21: 90, 90: 21}
    for segment in content["annotations"][image_id]["segments_info"]:
        segment["category_id"] = other.get(segment["category_id"], segment["category_id"])
    path.write_text(json.dumps(content))


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch, tiny_set: Path) -> None:
    """A model that knows the images of the tiny set by heart."""
    from detectron2.data import MetadataCatalog

    import effps_solo.inference.load
    from effps_solo.inference.load import PanopticModel
    from effps_solo.structures.classes import classes_from_metadata
    from effps_solo.structures.panoptic_png import read_segment_ids

    content = json.loads((tiny_set / "panoptic_val.json").read_text())
    answers = {
        read(tiny_set / "val" / annotation["file_name"]).tobytes(): (
            read_segment_ids(str(tiny_set / "panoptic_val" / annotation["file_name"])),
            annotation["segments_info"],
        )
        for annotation in content["annotations"]
    }

    class Memory:
        image_format = "RGB"
        confidence_threshold = 0.0

        def __init__(self) -> None:
            self.classes = classes_from_metadata(MetadataCatalog.get("tiny_train"))

        def panoptic(self, image: np.ndarray, *threshold: Any) -> Any:
            ids, info = answers[image.tobytes()]
            index = {entry.dataset_id: k for k, entry in enumerate(self.classes)}
            segments = []
            for segment in info:
                category = index[segment["category_id"]]
                isthing = self.classes[category].isthing
                entry = {"id": segment["id"], "category_id": category, "isthing": isthing}
                segments.append({**entry, "score": 0.9})
            return ids, segments

    monkeypatch.setattr(
        effps_solo.inference.load, "load", lambda *args, **kwargs: PanopticModel(Memory())
    )


def test_wrong_labels_come_first(
    tiny_set: Path,
    tiny_config: Path,
    tmp_path: Path,
    memory: None,
    capsys: pytest.CaptureFixture,
) -> None:
    swap_classes(tiny_set, 1)
    assert run(tiny_config, tmp_path / "out", "--errors", "--tile-width", "96") == 0
    lines = capsys.readouterr().out.splitlines()
    worst, best = lines[1].split(), lines[2].split()
    assert worst[3].endswith("/train/1.png") and worst[1:3] == ["2", "2"]
    assert best[:3] == ["0.0%", "0", "0"] and best[3].endswith("/train/0.png")
    assert lines[1].endswith("road -> sky") or lines[1].endswith("sky -> road")
    table = (tmp_path / "out" / "tiny_train_errors.csv").read_text().splitlines()
    assert len(table) == 3 and "1.png" in table[1]
    sheet = read(tmp_path / "out" / "tiny_train_errors.png")
    # Label, prediction and difference of two images.
    assert sheet.shape[0] > 2 * 64 and sheet.shape[1] >= 3 * 96
    label, prediction, difference = (sheet[20:84, x : x + 96] for x in (8, 112, 216))
    assert (label != prediction).any() and (prediction != difference).any()
    assert (tmp_path / "out" / "tiny_val_errors.png").is_file()


def test_only_so_many_of_the_worst_are_drawn(
    tiny_config: Path, tmp_path: Path, memory: None, capsys: pytest.CaptureFixture
) -> None:
    words = ["--errors", "--num", "1", "--tile-width", "96", "--opts", "DATASETS.TEST", "()"]
    assert run(tiny_config, tmp_path / "out", *words) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert len((tmp_path / "out" / "tiny_train_errors.csv").read_text().splitlines()) == 3
    assert read(tmp_path / "out" / "tiny_train_errors.png").shape[0] < 2 * 64 + 60


def test_an_image_that_cannot_be_compared_is_named(
    tiny_set: Path,
    tiny_config: Path,
    tmp_path: Path,
    memory: None,
    capsys: pytest.CaptureFixture,
) -> None:
    Image.new("RGB", (5, 4)).save(tiny_set / "panoptic_train" / "0.png")
    (tiny_set / "train" / "1.png").write_text("no image")
    words = ["--errors", "--tile-width", "96", "--opts", "DATASETS.TEST", "()"]
    assert run(tiny_config, tmp_path / "out", *words) == 1
    errors = capsys.readouterr().err
    assert "panoptic_train/0.png has 5x4 pixels, its image 96x64" in errors
    assert "train/1.png cannot be read" in errors
    assert len((tmp_path / "out" / "tiny_train_errors.csv").read_text().splitlines()) == 1


def test_errors_need_a_trained_model(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(tiny_config, tmp_path / "out", "--errors") == 2
    assert "train first" in capsys.readouterr().err


def test_errors_of_a_trained_model(
    tiny_config: Path, tmp_path: Path, lively_weights: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["--errors", "--tile-width", "96", "--opts", "MODEL.WEIGHTS", str(lively_weights)]
    assert run(tiny_config, tmp_path / "out", *words) == 0
    assert (tmp_path / "out" / "tiny_val_errors.png").is_file()
