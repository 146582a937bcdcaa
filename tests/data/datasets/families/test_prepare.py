"""Preparing: the command line, and what the downloads can hold."""

import json
import os
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from PIL import Image

from effps_solo.data.datasets.families import FAMILIES
from effps_solo.data.datasets.prepare import main
from effps_solo.structures.panoptic_png import read_segment_ids

Write = Callable[[str], Path]
Json = Dict[str, Any]


def files_of(folder: Path) -> Dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read(path: Path) -> Json:
    content: Json = json.loads(path.read_text())
    return content


def failure(name: str, capsys: pytest.CaptureFixture) -> str:
    """The message of a run that must fail."""
    assert main([name], ["--workers", "1"]) == 2
    message = str(capsys.readouterr().err)
    assert message.startswith(FAMILIES[name].script) or "\n" in message
    return message


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_second_run_changes_nothing(
    name: str, write_miniature: Write, capsys: pytest.CaptureFixture
) -> None:
    folder = write_miniature(name)
    native = files_of(folder)
    assert main([name], ["--workers", "1"]) == 0
    family, out = FAMILIES[name], capsys.readouterr().out
    for split in family.splits:
        assert f"{family.dataset_name(split)}: 2 images, " in out
    first = files_of(folder)
    assert {path: first[path] for path in native} == native
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    assert main([name], ["--workers", "1"]) == 0
    assert files_of(folder) == first
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")} == stamps


@pytest.mark.parametrize("name", list(FAMILIES))
def test_the_script(
    name: str, write_miniature: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_miniature(name)
    root = tmp_path / "elsewhere"
    root.mkdir()
    shutil.move(tmp_path / FAMILIES[name].folder, root)
    script = Path(__file__).parents[4] / "datasets" / FAMILIES[name].script
    words = ["--root", str(root), "--splits", "val", "--workers", "1"]
    words += ["--family", name] * name.startswith("vistas")
    monkeypatch.setattr(sys, "argv", [str(script), *words])
    with pytest.raises(SystemExit) as exit_info:
        runpy.run_path(str(script), run_name="__main__")
    assert exit_info.value.code == 0
    files = FAMILIES[name].files("val", str(root))
    assert Path(files.panoptic_json).is_file()
    other = FAMILIES[name].files("train", str(root))
    assert not Path(other.panoptic_png).exists()


@pytest.mark.parametrize("name", list(FAMILIES))
def test_missing_downloads(
    name: str, write_miniature: Write, capsys: pytest.CaptureFixture
) -> None:
    folder = write_miniature(name)
    family = FAMILIES[name]
    for template in (family.images, *family.needs):
        path = Path(family.path(str(folder.parent), template, "train"))
        shutil.move(path, folder.parent / "away")
        message = failure(name, capsys)
        assert str(path) in message and "datasets/README.md" in message
        shutil.move(folder.parent / "away", path)
    shutil.rmtree(folder)
    assert str(folder) in failure(name, capsys)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "coco"])
def test_image_and_annotation_differ_in_size(
    name: str, write_miniature: Write, capsys: pytest.CaptureFixture
) -> None:
    folder = write_miniature(name)
    images = Path(FAMILIES[name].files("val").images)
    image = sorted(path for path in images.rglob("*.*") if path.is_file())[0]
    width, height = Image.open(image).size
    Image.open(image).resize((width + 2, height)).save(image)
    message = failure(name, capsys)
    assert f"{width}x{height}" in message and f"{width + 2}x{height}" in message
    assert str(folder) in message
    assert not Path(FAMILIES[name].files("val").panoptic_json).exists()
    assert Path(FAMILIES[name].files("train").panoptic_json).is_file()


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "coco"])
def test_an_annotation_without_image(
    name: str, write_miniature: Write, capsys: pytest.CaptureFixture
) -> None:
    write_miniature(name)
    images = Path(FAMILIES[name].files("val").images)
    image = sorted(path for path in images.rglob("*.*") if path.is_file())[0]
    image.unlink()
    stem = image.stem.removesuffix("_leftImg8bit")
    assert stem in failure(name, capsys)


@pytest.mark.parametrize("name", ["kitti", "vistas_v1.2"])
def test_pngs_of_another_mode(
    name: str, write_miniature: Write, capsys: pytest.CaptureFixture
) -> None:
    folder = write_miniature(name) / "validation"
    pngs = folder / {"kitti": "annotations"}.get(name, "v1.2/panoptic")
    png = sorted(pngs.glob("*.png"))[0]
    Image.open(png).convert("P").save(png)
    message = failure(name, capsys)
    assert f"{png} is a PNG with 8-bit palette pixels" in message


def test_cityscapes_as_cityscapesscripts(write_miniature: Write, tmp_path: Path) -> None:
    folder = write_miniature("cityscapes")
    assert main(["cityscapes"], ["--workers", "1"]) == 0
    out = tmp_path / "theirs"
    out.mkdir()
    convert2panoptic(str(folder / "gtFine"), str(out), setNames=["train", "val"])
    for split in ("train", "val"):
        name = f"cityscapes_panoptic_{split}"
        ours, theirs = read(folder / "gtFine" / f"{name}.json"), read(out / f"{name}.json")
        assert ours["images"] == theirs["images"]
        assert ours["annotations"] == theirs["annotations"]
        keys = ("id", "name", "isthing", "color")
        assert ours["categories"] == [{k: c[k] for k in keys} for c in theirs["categories"]]
        for annotation in ours["annotations"]:
            png = annotation["file_name"]
            first = read_segment_ids(str(folder / "gtFine" / name / png))
            np.testing.assert_array_equal(first, read_segment_ids(str(out / name / png)))


def test_cityscapes_keeps_the_label_images_of_the_download(write_miniature: Write) -> None:
    folder = write_miniature("cityscapes")
    city = folder / "gtFine" / "val" / "ulm"
    stem = city / "ulm_000000_000002_gtFine"
    instances = np.full((96, 64), 24, np.uint16)  # not what the polygons say
    instances[:40] = 24007
    native = Path(f"{stem}_instanceIds.png")
    Image.fromarray(instances).save(native)
    before = native.read_bytes()
    assert main(["cityscapes"], ["--workers", "1"]) == 0
    assert native.read_bytes() == before
    content = read(folder / "gtFine" / "cityscapes_panoptic_val.json")
    segments = content["annotations"][0]["segments_info"]
    assert [(s["id"], s["category_id"], s["iscrowd"]) for s in segments] == [
        (24, 24, 1),
        (24007, 24, 0),
    ]
    train_ids = Path(f"{stem}_labelTrainIds.png")
    made = train_ids.read_bytes()
    train_ids.unlink()
    assert main(["cityscapes"], ["--workers", "1"]) == 0
    assert train_ids.read_bytes() == made


def test_cityscapes_with_a_strange_label(
    write_miniature: Write, capsys: pytest.CaptureFixture
) -> None:
    folder = write_miniature("cityscapes")
    path = folder / "gtFine" / "val" / "ulm" / "ulm_000000_000002_gtFine_polygons.json"
    path.write_text(path.read_text().replace("person", "unicorn"))
    message = failure("cityscapes", capsys)
    assert str(path) in message and "none of Cityscapes" in message


def edit(path: Path, change: Callable[[Json], Any]) -> None:
    content = read(path)
    change(content)
    path.write_text(json.dumps(content))


def test_vistas_drops_what_is_not_evaluated(
    write_miniature: Write, capsys: pytest.CaptureFixture
) -> None:
    folder = write_miniature("vistas_v2.0")
    native = folder / "training" / "v2.0" / "panoptic"
    group = {"id": 900, "name": "Person Group", "isthing": 1}
    group["supercategory"] = "human--person--person-group"

    def change(content: Json) -> None:
        content["categories"].insert(0, group)
        content["annotations"][1]["segments_info"][0]["category_id"] = 900
        content["annotations"][0]["segments_info"][0]["area"] = 1
        content["annotations"][0]["segments_info"].append(
            {"id": 77, "category_id": 1, "area": 5, "bbox": [0, 0, 1, 1], "iscrowd": 0}
        )

    edit(native / "panoptic_2020.json", change)
    assert main(["vistas_v2.0"], ["--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert "1 segments of categories that are not evaluated: void" in out
    assert "1 segments without a pixel" in out
    made = read(folder / "panoptic_v2.0_train.json")
    first, second = made["annotations"]
    native_png, png = (f / first["file_name"] for f in (native, folder / "panoptic_v2.0_train"))
    assert os.path.samefile(native_png, png)
    assert min(s["area"] for s in first["segments_info"]) > 1
    assert len(first["segments_info"]) == 6 and len(second["segments_info"]) == 5
    ids = read_segment_ids(str(folder / "panoptic_v2.0_train" / second["file_name"]))
    assert set(np.unique(ids)) == {0} | {s["id"] for s in second["segments_info"]}
    assert ids.any() and not os.path.samefile(
        native / second["file_name"], folder / "panoptic_v2.0_train" / second["file_name"]
    )


def test_vistas_of_older_downloads(write_miniature: Write) -> None:
    folder = write_miniature("vistas_v1.2")
    assert main(["vistas_v1.2"], ["--workers", "1"]) == 0
    made = (folder / "panoptic_v1.2_val.json").read_bytes()
    (folder / "panoptic_v1.2_val.json").unlink()
    for native in ("training", "validation"):
        shutil.move(folder / native / "v1.2" / "panoptic", folder / native / "panoptic")
    assert main(["vistas_v1.2"], ["--workers", "1"]) == 0
    assert (folder / "panoptic_v1.2_val.json").read_bytes() == made


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["categories"].pop(3), ["lacks the categories", "another version"]),
        (lambda c: c["categories"][0].update(isthing=0), ["another isthing", "Bird"]),
        (
            lambda c: c["annotations"][0]["segments_info"].pop(),
            ["holds the segment ids", "its JSON lacks"],
        ),
        (lambda c: c.pop("categories"), ["categories"]),
    ],
)
def test_vistas_that_contradicts_itself(
    write_miniature: Write,
    capsys: pytest.CaptureFixture,
    change: Callable[[Json], Any],
    words: List[str],
) -> None:
    folder = write_miniature("vistas_v1.2")
    edit(folder / "validation" / "v1.2" / "panoptic" / "panoptic_2018.json", change)
    message = failure("vistas_v1.2", capsys)
    assert all(word in message for word in words)


def test_vistas_without_panoptic_files(
    write_miniature: Write, capsys: pytest.CaptureFixture
) -> None:
    folder = write_miniature("vistas_v1.2")
    (folder / "training" / "v1.2" / "panoptic" / "panoptic_2018.json").unlink()
    message = failure("vistas_v1.2", capsys)
    assert "panoptic_2018.json" in message and "v1.2" in message


def test_ade20k_with_broken_files(write_miniature: Write, capsys: pytest.CaptureFixture) -> None:
    folder = write_miniature("ade20k")
    instances = sorted((folder / "annotations_instance" / "validation").iterdir())[0]
    semantic = folder / "annotations" / "validation" / instances.name
    pixels = np.array(Image.open(instances))
    for color, words in (((101, 1, 0), "class 101"), ((0, 1, 0), "class 0")):
        pixels[:3, :3] = color
        Image.fromarray(pixels).save(instances)
        message = failure("ade20k", capsys)
        assert str(instances) in message and words in message
    Image.fromarray(pixels[..., 0]).save(instances)
    assert "is a PNG of mode L, not RGB" in failure("ade20k", capsys)
    instances.unlink()
    assert f"{instances} does not exist" in failure("ade20k", capsys)
    Image.fromarray(np.full((4, 4), 151, np.uint8)).save(semantic)
    assert str(semantic) in failure("ade20k", capsys)


def test_coco_links_an_unpacked_folder(
    write_miniature: Write, capsys: pytest.CaptureFixture
) -> None:
    folder = write_miniature("coco")
    assert main(["coco"], ["--workers", "1"]) == 0
    (folder / "annotations" / "panoptic_val2017.zip").unlink()
    shutil.move(folder / "panoptic_val2017", folder / "annotations")
    assert main(["coco"], ["--workers", "1"]) == 0
    assert (folder / "panoptic_val2017").is_symlink()
    (folder / "annotations" / "panoptic_val2017" / "000000000142.png").unlink()
    message = failure("coco", capsys)
    assert "lacks 1 of the 2 files" in message and "000000000142.png" in message


def test_coco_leaves_what_is_unpacked(write_miniature: Write) -> None:
    folder = write_miniature("coco")
    assert main(["coco"], ["--workers", "1"]) == 0
    (folder / ".panoptic_val2017.journal").unlink()
    png = folder / "panoptic_val2017" / "000000000142.png"
    png.write_bytes(b"mine")
    assert main(["coco"], ["--workers", "1"]) == 0
    assert png.read_bytes() == b"mine"


def test_coco_with_a_damaged_archive(write_miniature: Write, capsys: pytest.CaptureFixture) -> None:
    folder = write_miniature("coco")
    archive = folder / "annotations" / "panoptic_train2017.zip"
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    assert "panoptic_train2017.zip cannot be read" in failure("coco", capsys)
