"""From a source to files: names, splits, descriptions, repetition."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
import yaml
from PIL import Image

from effps_solo.data.conversion import ConversionError
from effps_solo.data.importers.classes import ClassList
from effps_solo.data.importers.files import SourceError, image_size
from effps_solo.data.importers.labelme import find
from effps_solo.data.importers.run import import_split, write_description
from effps_solo.data.importers.source import Item, Source
from effps_solo.structures.panoptic_png import read_segment_ids
from effps_solo.utils.image_io import read_image

CLASSES = ClassList(
    [{"name": "cell", "isthing": 1}, {"name": "dish", "isthing": 0}], "classes.yaml"
)


@pytest.fixture
def source(tmp_path: Path, write_image: Callable[..., Path]) -> Callable[[], Source]:
    """Five images of different size, in two folders."""
    for k in range(5):
        folder = "ab"[k % 2]
        write_image(f"raw/{folder}/{k}.jpg", 10 + k, 20)
        shapes = [
            {"label": label, "points": [[x, 0], [x + k, 4]], "shape_type": "rectangle"}
            for label, x in (("dish", 0), ("cell", 0), ("cell", 10), ("hair", 18))
        ]
        content = {"shapes": shapes, "imageHeight": 10 + k, "imageWidth": 20}
        (tmp_path / "raw" / folder / f"{k}.json").write_text(json.dumps(content))

    def read() -> Source:
        export = find(str(tmp_path / "raw"))
        return Source(export.images, export.splits[""], CLASSES, export.draw)

    return read


def read(folder: Path, split: str = "train") -> Dict[str, Any]:
    content: Dict[str, Any] = json.loads((folder / f"panoptic_{split}.json").read_text())
    return content


def test_files(source: Callable[[], Source], tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = source()
    imported = import_split(found, found.items, out, "train", 1)
    content = read(out)
    assert content["categories"] == CLASSES.categories
    names = [image["file_name"] for image in content["images"]]
    assert names == ["a/0.jpg", "a/2.jpg", "a/4.jpg", "b/1.jpg", "b/3.jpg"]
    for image, annotation in zip(content["images"], content["annotations"]):
        assert annotation["image_id"] == image["id"]
        ids = read_segment_ids(str(out / "panoptic_train" / annotation["file_name"]))
        assert ids.shape == (image["height"], image["width"])
        segments = annotation["segments_info"]
        assert sorted(np.unique(ids)) == [0, *sorted(s["id"] for s in segments)]
        assert all(s["area"] == (ids == s["id"]).sum() for s in segments)
    assert imported.num_images == 5
    assert imported.num_segments == {"cell": 10, "dish": 0}
    assert imported.notes == {}
    assert (imported.counts.num_annotations, imported.counts.num_drawn) == (20, 10)
    assert imported.counts.left_out == {
        "with the label 'hair', which no class names: void": 5,
        "covered entirely by others": 5,  # the dish
    }


def test_several_processes_make_the_same(source: Callable[[], Source], tmp_path: Path) -> None:
    found = source()
    for workers in (1, 2):
        import_split(found, found.items, tmp_path / str(workers), "train", workers)
    assert read(tmp_path / "1") == read(tmp_path / "2")
    for path in (tmp_path / "1" / "panoptic_train").rglob("*.png"):
        other = tmp_path / "2" / path.relative_to(tmp_path / "1")
        assert path.read_bytes() == other.read_bytes()


def test_only_what_changed_is_drawn_again(source: Callable[[], Source], tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = source()
    import_split(found, found.items, out, "train", 1)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    path = tmp_path / "raw" / "b" / "3.json"
    path.write_text(path.read_text().replace("hair", "dish"))
    (tmp_path / "raw" / "a" / "0.json").unlink()
    found = source()
    imported = import_split(found, found.items, out, "train", 1)
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert set(before) - set(after) == {out / "panoptic_train" / "a" / "0.png"}
    changed = {path.name for path in after if after[path] != before[path]}
    assert changed == {"3.png"}
    assert imported.num_segments == {"cell": 8, "dish": 1}


def test_failures_leave_no_json(source: Callable[[], Source], tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = source()
    import_split(found, found.items, out, "train", 1)
    (tmp_path / "raw" / "b" / "1.json").write_text("{")
    with pytest.raises(ConversionError, match="1 of 5 images failed.*\n.*b/1.json cannot be read"):
        import_split(found, found.items, out, "train", 1)
    assert not (out / "panoptic_train.json").exists()


def test_images_that_differ_in_their_suffix(tmp_path: Path) -> None:
    items = [Item(str(tmp_path / name), (), None) for name in ("a.jpg", "a.png")]
    source = Source(str(tmp_path), items, CLASSES, print)
    with pytest.raises(SourceError, match="several images are named a but for their suffix"):
        import_split(source, items, tmp_path, "train", 1)
    with pytest.raises(SourceError, match="split val has no annotated image"):
        import_split(source, [], tmp_path, "val", 1)


def test_descriptions(tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = write_description(out, "mine", "train", str(out / "photos"))
    assert (
        write_description(out, "mine", "val", str(tmp_path / "more")) == path == out / "mine.yaml"
    )
    assert yaml.safe_load(path.read_text()) == {
        "name": "mine",
        "splits": {"train": {"images": "photos"}, "val": {"images": str(tmp_path / "more")}},
    }
    path.write_text("name: mine\nsplits: [train]")
    with pytest.raises(SourceError, match="mine.yaml is no description of an import"):
        write_description(out, "mine", "val", str(tmp_path))


def test_importing_twice_into_the_folder_of_the_annotations(
    source: Callable[[], Source], tmp_path: Path
) -> None:
    for _ in range(2):
        found = source()
        assert len(found.items) == 5
        import_split(found, found.items, tmp_path / "raw", "train", 1)


def test_images_outside_their_folder_are_refused(
    source: Callable[[], Source], tmp_path: Path
) -> None:
    """Their PNGs would lie outside of the output, over the images themselves."""
    found = source()
    elsewhere = Source(str(tmp_path / "raw" / "a"), found.items, found.classes, found.draw)
    with pytest.raises(
        SourceError, match="raw/b/1.jpg lies outside --images .*name a folder above"
    ):
        import_split(elsewhere, found.items, tmp_path / "out", "train", 1)
    assert not list(tmp_path.rglob("*.png"))


def test_braces_and_variables_in_the_name_of_the_folder(tmp_path: Path) -> None:
    write_description(tmp_path, "cells", "train", str(tmp_path / "{day} 1"))
    content = yaml.safe_load((tmp_path / "cells.yaml").read_text())
    assert content["splits"]["train"]["images"].format() == "{day} 1"
    with pytest.raises(SourceError, match="has a [$], which stands for a variable"):
        write_description(tmp_path, "cells", "train", str(tmp_path / "$HOME"))


def test_json_with_a_byte_order_mark(source: Callable[[], Source], tmp_path: Path) -> None:
    source()
    for path in (tmp_path / "raw").rglob("*.json"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    found = source()
    assert import_split(found, found.items, tmp_path / "out", "train", 1).num_images == 5


def test_the_size_of_a_turned_tiff(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    for suffix in ("tif", "jpg"):
        path = tmp_path / f"turned.{suffix}"
        Image.new("RGB", (60, 40)).save(path, exif=exif)
        assert image_size(str(path)) == read_image(path, "RGB").shape[:2] == (60, 40)


def test_names_that_are_no_utf8_and_labels_of_other_scripts(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path / "raw") + b"\xe9")
    os.mkdir(folder)
    name = os.fsdecode(b"caf\xe9")
    Image.new("RGB", (30, 20)).save(f"{folder}/{name}.jpg")
    labels = ["地面", "차량", "طريق", "आकाश"]
    shapes = [
        {"label": label, "points": [[9 * k, 0], [9 * k + 5, 0], [9 * k, 9]]}
        for k, label in enumerate(labels[:3])
    ]
    Path(folder, f"{name}.json").write_text(json.dumps({"shapes": shapes}))
    classes = ClassList([{"name": label, "isthing": 1} for label in labels], "")
    export = find(folder)
    found = Source(export.images, export.splits[""], classes, export.draw)
    imported = import_split(found, found.items, tmp_path / "out", "train", 1)
    assert imported.num_segments == {"地面": 1, "차량": 1, "طريق": 1, "आकाश": 0}
    path = write_description(tmp_path / "out", "mine", "train", folder)
    assert yaml.safe_load(path.read_text())["splits"]["train"]["images"] == folder
    assert read(tmp_path / "out")["images"][0]["file_name"] == f"{name}.jpg"


def test_a_size_that_the_orientation_of_the_image_contradicts(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    for width, height, message in (
        (30, 20, r"for 30x20 pixels, but its image has 20x30 \(stored as 30x20 with an EXIF"),
        (31, 20, r"for 31x20 pixels, but its image has 20x30 \(stored as 30x20 with an EXIF"),
    ):
        content = {"shapes": [], "imageHeight": height, "imageWidth": width}
        (tmp_path / "a.json").write_text(json.dumps(content))
        export = find(str(tmp_path))
        found = Source(export.images, export.splits[""], CLASSES, export.draw)
        with pytest.raises(ConversionError, match=message):
            import_split(found, found.items, tmp_path / "out", "train", 1)


def test_two_annotations_of_one_image(tmp_path: Path) -> None:
    items = [Item(str(tmp_path / "a.jpg"), (), None)] * 2
    source = Source(str(tmp_path), items, CLASSES, print)
    with pytest.raises(SourceError, match="several annotations are of the image a.jpg; keep one"):
        import_split(source, items, tmp_path, "train", 1)


def test_other_options_draw_anew(source: Callable[[], Source], tmp_path: Path) -> None:
    found, out = source(), tmp_path / "out"

    def stamps(**changes: Any) -> List[int]:
        changed = replace(found, **changes)
        import_split(changed, changed.items, out, "train", 1)
        return [path.stat().st_mtime_ns for path in sorted(out.rglob("*.png"))]

    first = stamps()
    assert stamps() == first
    other = ClassList(CLASSES.categories, "", "sky")
    for changes in ({"classes": other}, {"crowds_as_objects": True}):
        now = stamps(**changes)
        assert not set(now) & set(first)
        first = now


def test_the_description_as_seen_from_its_folder(tmp_path: Path) -> None:
    path = write_description(tmp_path / "out", "m", "train", str(tmp_path / "raw"), relative=True)
    assert yaml.safe_load(path.read_text())["splits"]["train"] == {"images": "../raw"}
