"""The command ``check-dataset``: ways to name data, exit statuses, reports, repaired files."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
from PIL import Image

from effps_solo.__main__ import main

pytestmark = pytest.mark.usefixtures("fresh_loggers")
Edit = Callable[[Dict[str, Any]], Any]


def edit(tiny_set: Path, change: Edit, split: str = "train") -> None:
    path = tiny_set / f"panoptic_{split}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def segments(content: Dict[str, Any]) -> List[Dict[str, Any]]:
    found: List[Dict[str, Any]] = content["annotations"][0]["segments_info"]
    return found


def paths(root: Path, *splits: str) -> List[str]:
    words = ["--panoptic-json", *(str(root / f"panoptic_{s}.json") for s in splits)]
    words += ["--panoptic-png", *(str(root / f"panoptic_{s}") for s in splits)]
    return [*words, "--images", *(str(root / s) for s in splits)]


def run(*words: str) -> int:
    return main(["check-dataset", "--workers", "1", *words])


def with_config(config: Path, *words: str) -> int:
    """The splits of a config; "tiny" has the same images in both, so only that of training."""
    return run("--config-file", str(config), *words, "--opts", "DATASETS.TEST", "()")


def test_a_clean_set(tiny_set: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(*paths(tiny_set, "train")) == 0
    output = capsys.readouterr().out
    assert "panoptic_train: 2 images, 8 segments, 4 classes (2 things)" in output
    assert "nothing found" in output and "0 errors, 0 warnings, 0 hints" in output


@pytest.mark.parametrize(
    ("change", "status", "kind"),
    [
        (lambda c: c["categories"].append({"id": 1, "name": "dog", "isthing": 1}), 0, "hint"),
        (lambda c: segments(c)[0].update(bbox=[0, 0, 1, 1]), 3, "warning"),
        (lambda c: segments(c)[0].update(area=1), 4, "error"),
    ],
)
def test_the_exit_status_is_that_of_the_worst_finding(
    tiny_set: Path, capsys: pytest.CaptureFixture, change: Edit, status: int, kind: str
) -> None:
    edit(tiny_set, change)
    assert run(*paths(tiny_set, "train")) == status
    output = capsys.readouterr().out
    assert f"  {kind}" in output and f"1 {kind}" in output.splitlines()[-1]


def test_both_splits_of_a_config(tiny_config: Path, capsys: pytest.CaptureFixture) -> None:
    """The two splits of "tiny" hold the same images."""
    assert run("--config-file", str(tiny_config)) == 4
    output = capsys.readouterr().out
    assert "tiny_train: 2 images" in output and "tiny_val: 2 images" in output
    assert "image-in-several-splits (2)" in output and "2 errors" in output


def test_a_config_with_another_class_count(
    tiny_config: Path, capsys: pytest.CaptureFixture
) -> None:
    tiny_config.write_text(tiny_config.read_text().replace("NUM_CLASSES: 4", "NUM_CLASSES: 5"))
    assert with_config(tiny_config) == 4
    output = capsys.readouterr().out
    assert "MODEL.SEM_SEG_HEAD.NUM_CLASSES: is 5, but the data set has 4 classes" in output
    tiny_config.write_text(tiny_config.read_text().replace("NUM_CLASSES: 5", "NUM_CLASSES: -1"))
    assert with_config(tiny_config) == 0


def test_damage_that_stops_the_loader_does_not_stop_the_check(
    tiny_set: Path, tiny_config: Path, capsys: pytest.CaptureFixture
) -> None:
    edit(tiny_set, lambda c: c["categories"].append(c["categories"][0]))
    edit(tiny_set, lambda c: segments(c)[1].update(category_id=55))
    (tiny_set / "panoptic_train" / "1.png").unlink()
    (tiny_set / "train" / "0.png").write_text("no image")
    assert with_config(tiny_config, "--json") == 4
    report = json.loads(capsys.readouterr().out)
    assert sorted(report["kinds"]) == [
        "duplicate-category",
        "missing-png",
        "unknown-category",
        "unreadable-image",
    ]


def test_the_report_for_machines(
    tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    edit(tiny_set, lambda c: segments(c)[0].update(area=1))
    output = tmp_path / "some" / "report"
    assert run(*paths(tiny_set, "train"), "--json", "--output", str(output)) == 4
    report = json.loads(capsys.readouterr().out)
    assert json.loads((output / "check_dataset.json").read_text()) == report
    assert report["status"] == 4 and report["counts"] == {"error": 1, "warning": 0, "hint": 0}
    assert report["kinds"]["wrong-area"]["level"] == "error"
    (dataset,) = report["datasets"]
    assert dataset["findings"] == [
        {
            "kind": "wrong-area",
            "level": "error",
            "subject": "0.png",
            "text": "segment 300 has area 1, its pixels are 2288",
        }
    ]
    road, person, _, car = dataset["classes"]
    assert (road["name"], road["isthing"], road["num_images"]) == ("road", False, 2)
    assert (person["num_images"], person["num_segments"]) == (1, 1)
    assert (car["num_images"], car["num_segments"], car["id"]) == (2, 3, 3)
    assert person["num_pixels"] == 52 * 28
    picture = np.asarray(Image.open(output / "check_dataset.png").convert("RGB"))
    assert picture.shape[0] > 300 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


@pytest.mark.parametrize(("words", "shown"), [([], 3), (["--max-examples", "0"], 4)])
def test_examples(
    tiny_set: Path, capsys: pytest.CaptureFixture, words: List[str], shown: int
) -> None:
    edit(tiny_set, lambda c: [segment.update(area=1) for segment in segments(c)])
    assert run(*paths(tiny_set, "train"), *words) == 4
    output = capsys.readouterr().out
    assert "wrong-area (4)" in output and output.count("0.png: segment") == shown
    assert ("and 1 more" in output) == (shown < 4)


def test_fix(tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    edit(tiny_set, lambda c: segments(c)[0].update(area=1))
    fixed = tmp_path / "fixed.json"
    assert run(*paths(tiny_set, "train"), "--fix", str(fixed)) == 4  # of what was found
    assert "area 1 times" in capsys.readouterr().err
    (tiny_set / "panoptic_train.json").write_bytes(fixed.read_bytes())
    assert run(*paths(tiny_set, "train")) == 0
    assert run(*paths(tiny_set, "train"), "--fix", str(fixed)) == 2
    assert "exists already" in capsys.readouterr().err


def test_fix_of_several_splits(tiny_set: Path, tmp_path: Path) -> None:
    edit(tiny_set, lambda c: segments(c)[0].update(area=1), "val")
    assert run(*paths(tiny_set, "train", "val"), "--fix", str(tmp_path / "fixed")) == 4
    written = sorted(path.name for path in (tmp_path / "fixed").iterdir())
    assert written == ["panoptic_train.json", "panoptic_val.json"]
    content = json.loads((tmp_path / "fixed" / "panoptic_val.json").read_text())
    assert segments(content)[0]["area"] == 2288


def test_files_of_a_split_that_is_not_checked(
    tiny_set: Path, tiny_config: Path, capsys: pytest.CaptureFixture
) -> None:
    """The config describes a split that it does not use, whose images lie below those of another."""
    (tiny_set / "val").rename(tiny_set / "train" / "more")
    (tiny_set / "tiny.yaml").write_text(
        "{name: own, splits: {train: {images: train}, val: {images: train/more}}}"
    )
    words = ["DATASETS.DESCRIPTIONS", f"('{tiny_set}/tiny.yaml',)", "DATASETS.PANOPTIC.NAME", "''"]
    words += ["DATASETS.TRAIN", "('own_train',)", "DATASETS.TEST", "()"]
    assert run("--config-file", str(tiny_config), "--opts", *words) == 0
    assert "nothing found" in capsys.readouterr().out


def test_groups_of_the_users_own(tiny_set: Path, capsys: pytest.CaptureFixture) -> None:
    for split, name in (("train", "north_a.png"), ("val", "north_b.png")):
        (tiny_set / split / "0.png").rename(tiny_set / split / name)
        edit(tiny_set, lambda c, n=name: c["images"][0].update(file_name=n), split)
    run(*paths(tiny_set, "train", "val"))
    assert "group-in-several-splits" not in capsys.readouterr().out
    run(*paths(tiny_set, "train", "val"), "--group-by", "^[a-z]+_")
    assert "north_b.png (north_a.png in panoptic_train)" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        run(*paths(tiny_set, "train"), "--group-by", "(")


def test_a_description(tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "set.yaml"
    path.write_text(f"{{name: mine, root: {tiny_set}, splits: [train]}}")
    assert run("--description", str(path)) == 0
    assert "mine_train: 2 images" in capsys.readouterr().out


def test_a_data_set_of_another_registration(
    tiny_set: Path, tiny_config: Path, capsys: pytest.CaptureFixture
) -> None:
    from detectron2.data import DatasetCatalog, MetadataCatalog

    DatasetCatalog.register("other_panoptic", lambda: 1 / 0)  # nobody calls it
    MetadataCatalog.get("other_panoptic").set(
        image_root=str(tiny_set / "train"),
        panoptic_root=str(tiny_set / "panoptic_train"),
        panoptic_json=str(tiny_set / "panoptic_train.json"),
        thing_classes=["human", "lorry", "street", "air"],
        stuff_classes=["human", "lorry", "street", "air"],
        thing_dataset_id_to_contiguous_id={7: 0, 3: 1},
        stuff_dataset_id_to_contiguous_id={21: 2, 90: 3},
    )
    words = ["--json", "--opts", "DATASETS.TRAIN", "('other_panoptic',)", "DATASETS.TEST", "()"]
    assert run("--config-file", str(tiny_config), *words) == 0
    (dataset,) = json.loads(capsys.readouterr().out)["datasets"]
    names = {category["id"]: category["name"] for category in dataset["classes"]}
    assert names == {7: "human", 3: "lorry", 21: "street", 90: "air"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name --config-file, or --description"),
        (["--images", "a"], "as many names each"),
        (["--description", "nowhere.yaml"], "nowhere.yaml' is missing"),
        (["--config-file", "{config}", "--images", "a"], "name --config-file, or"),
        (["--config-file", "{config}", "--instances-json", "a"], "names 1 files for 2 data sets"),
        (["--config-file", "{config}", "--opts", "DATASETS.TRAIN", "('tinny',)"], "'tinny'"),
        (
            ["--config-file", "{config}", "--opts", "DATASETS.TRAIN", "()", "DATASETS.TEST", "()"],
            "are empty",
        ),
        (
            ["--config-file", "{config}", "--opts", "DATASETS.TRAIN", "('coco_2017_val',)"],
            "'coco_2017_val' has no panoptic_root, panoptic_json in its metadata",
        ),
    ],
)
def test_unusable_input(
    tiny_config: Path, capsys: pytest.CaptureFixture, words: List[str], message: str
) -> None:
    assert run(*(word.format(config=tiny_config) for word in words)) == 2
    assert message in capsys.readouterr().err


def test_ctrl_c(
    tiny_set: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(work: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("effps_solo.data.checks.run.check_job", interrupt)
    assert run(*paths(tiny_set, "train")) == 130
    assert capsys.readouterr().err == "stopped\n"
