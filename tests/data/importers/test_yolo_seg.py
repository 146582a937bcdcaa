"""YOLO's polygons: the usual trees, what a line can be, and what cannot be used."""

from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest

from effps_solo.data.importers.classes import Label
from effps_solo.data.importers.files import SourceError
from effps_solo.data.importers.source import Export
from effps_solo.data.importers.yolo_seg import find

SIZE = (20, 40)
SQUARE = "0 0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6"  # x 4 .. 20, y 4 .. 12
YAML = "path: .\ntrain: images/train\nval: images/val\nnc: 2\nnames: [car, road]\n"


@pytest.fixture
def write(tmp_path: Path, write_image: Callable[..., Path]) -> Callable[..., None]:
    def run(files: Dict[str, str], *images: str) -> None:
        for name in images:
            write_image(name, *SIZE)
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    return run


@pytest.fixture
def load(tmp_path: Path, write: Callable[..., None]) -> Callable[..., Export]:
    def run(files: Dict[str, str], *images: str) -> Export:
        write(files, *images)
        return find(str(tmp_path))

    return run


def splits_of(export: Export) -> Dict[str, List[str]]:
    return {
        split: [Path(i.image).name + " " + "".join(Path(s).name for s in i.sources) for i in items]
        for split, items in export.splits.items()
    }


def test_a_polygon_and_its_classes(load: Any, draw: Any) -> None:
    files = {"data.yaml": YAML, "labels/train/a.txt": SQUARE + "\n", "labels/val/b.txt": ""}
    export = load(files, "images/train/a.jpg", "images/val/b.jpg", "images/val/c.jpg")
    assert splits_of(export) == {"train": ["a.jpg a.txt"], "val": ["b.jpg b.txt", "c.jpg "]}
    assert export.count_labels() == [Label("car", 1, 1), Label("road", 0, 1)]
    assert export.remarks == ("images without an object, whose text file is missing or empty: 2",)
    ids, info, left_out = draw(export)
    expected = np.zeros(SIZE)
    expected[4:12, 4:20] = 1
    assert np.array_equal(ids, expected) and not left_out
    assert draw(export, 2)[1] == []


@pytest.mark.parametrize("names", ["[car, road]", "{0: car, 1: road}", "\n  - car\n  - road"])
def test_the_tree_of_roboflow(names: str, load: Any) -> None:
    config = f"train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: {names}\n"
    files = {"data.yaml": config, "README.dataset.txt": "facades\n"}
    files.update(
        {"train/labels/a.txt": SQUARE, "valid/labels/a.txt": SQUARE.replace("0 ", "1 ", 1)}
    )
    export = load(files, "train/images/a.jpg", "valid/images/a.jpg")
    assert splits_of(export) == {"train": ["a.jpg a.txt"], "val": ["a.jpg a.txt"]}
    assert [label.name for label in export.count_labels()] == ["car", "road"]
    assert len(export.remarks) == 1 and "test: " in export.remarks[0]


def test_trees_without_data_yaml(load: Any, draw: Any, tmp_path: Path) -> None:
    export = load({"a.txt": SQUARE, "sub/b.txt": "3" + SQUARE[1:]}, "a.jpg", "sub/b.jpg")
    assert [label.name for label in export.count_labels()] == ["0", "3"]
    (tmp_path / "classes.txt").write_text("car\nroad\nsky\n\u00e9cole\n", encoding="utf-8")
    labels = find(str(tmp_path)).count_labels()
    assert [label.name for label in labels if label.num_annotations] == ["car", "\u00e9cole"]
    assert [label.name for label in labels if not label.num_annotations] == ["road", "sky"]
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        (tmp_path / f"{split}.txt").write_text("images/a.jpg\n")  # a list, no labels
    assert splits_of(find(str(tmp_path))) == {"": ["a.jpg a.txt", "b.jpg b.txt"]}


def test_lists_of_images_and_images_elsewhere(write: Any, tmp_path: Path) -> None:
    config = "path: ./\ntrain: train.txt\nval: val.txt\nnames: {0: car}\n"
    lists = {"e/train.txt": "data/images/train/a.jpg\n", "e/val.txt": "data/images/val/b.jpg\n"}
    labels = {"e/labels/train/a.txt": SQUARE, "e/labels/val/b.txt": SQUARE}
    write({"e/data.yaml": config, **lists, **labels}, "photos/a.jpg", "photos/b.jpg")
    export = find(str(tmp_path / "e"), str(tmp_path / "photos"))
    assert splits_of(export) == {"train": ["a.jpg a.txt"], "val": ["b.jpg b.txt"]}
    (tmp_path / "e" / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [car]")
    export = find(str(tmp_path / "e" / "data.yaml"), str(tmp_path / "photos"))
    assert splits_of(export) == {"train": ["a.jpg a.txt"], "val": ["b.jpg b.txt"]}


def test_polygons_joined_by_doubled_points_are_one_object(load: Any, draw: Any) -> None:
    """The way from one part to the other, and back, has no pixel; rings may be closed."""
    first, second = [(2, 2), (8, 2), (8, 9), (2, 9)], [(31, 13), (37, 13), (37, 18), (31, 18)]
    joined = [*first[2:], *first[:3], *second, second[0], first[2]]
    points = " ".join(f"{x / SIZE[1]:.6f} {y / SIZE[0]:.6f}" for x, y in joined)
    ids, info, _ = draw(load({"a.txt": f"0 {points}"}, "a.jpg"))
    expected = np.zeros(SIZE)
    expected[2:9, 2:8], expected[13:18, 31:37] = 1, 1
    assert len(info) == 1 and np.array_equal(ids, expected)


def test_lines_without_an_area_are_counted(load: Any, draw: Any) -> None:
    lines = [SQUARE, "0 0.5 0.5 0.2 0.2", "0 0.1 0.1", "0", SQUARE, "0 0.1 0.1 0.9 0.1 0.5 0.1", ""]
    _, info, left_out = draw(load({"a.txt": "\r\n".join(lines)}, "a.jpg"))
    assert [s["area"] for s in info] == [128]
    assert left_out == {
        "with a box alone, without a mask": 1,
        "of less than three points": 2,
        "listed twice": 1,
        "without a pixel in the image": 1,
    }


def test_what_goes_a_little_over_the_border_ends_there(load: Any, draw: Any) -> None:
    ids, _, _ = draw(load({"a.txt": "0 -0.01 0.5 1.002 0.5 1.002 1.01 -0.01 1.01"}, "a.jpg"))
    assert (ids[10:] == 1).all() and not ids[:10].any()


def test_small_lies_on_large_and_boxes_alone_are_no_set(load: Any, draw: Any) -> None:
    whole = "1 0 0 1 0 1 1 0 1"
    _, info, _ = draw(load({"a.txt": f"{SQUARE}\n{whole}\n"}, "a.jpg"))
    assert sorted(s["area"] for s in info) == [128, 800 - 128]
    with pytest.raises(SourceError, match="no polygon; boxes cannot teach"):
        load({"a.txt": "0 0.5 0.5 0.2 0.2"}, "a.jpg").count_labels()


@pytest.mark.parametrize(
    "line, message",
    [
        ("0 4 4 20 4 20 12", "line 1: 4 lies far outside of 0 .. 1"),
        ("0 inf 0 1 0 1 1", "inf lies far outside"),
        ("0 nan 0 1 0 1 1", "line 1: a coordinate is no finite number"),
        ("0 0.1 0.1 0.2 0.1 0.2 0.2 0.9", "line 1: .* odd number of coordinates"),
    ],
)
def test_coordinates_that_cannot_be_meant(line: str, message: str, load: Any, draw: Any) -> None:
    export = load({"a.txt": line}, "a.jpg")
    with pytest.raises(SourceError, match=message):
        draw(export)


@pytest.mark.parametrize(
    "files, message",
    [
        ({"a.txt": "car 0.1 0.1 0.5 0.5 0.5 0.1"}, "a.txt: line 1: .* are not all numbers"),
        ({"a.txt": "2" + SQUARE[1:], "data.yaml": YAML}, "line 1: 2 is no class of 0 .. 1"),
        ({"a.txt": "0.5" + SQUARE[1:]}, "line 1: 0.5 is no number of a class"),
        ({"a.txt": SQUARE, "data.yaml": "names: 5"}, "'names' must be a list"),
        ({"a.txt": SQUARE, "data.yaml": "names: {0: a, 2: b}"}, "not numbered from 0 on"),
        ({"a.txt": SQUARE, "data.yaml": "names: [[a], b]"}, "something else than names"),
        ({"a.txt": SQUARE, "data.yaml": YAML + "kpt_shape: [17, 3]"}, "boxes with keypoints"),
        ({"b.txt": SQUARE}, "no image has a text file of its name"),
        ({"x/a.txt": SQUARE, "y/a.txt": SQUARE}, "a.txt may be its labels; keep one"),
        ({"a.txt": SQUARE, "data.yaml": YAML, "b.yaml": YAML}, "name one file"),
        (
            {"a.txt": SQUARE, "data.yaml": "names: [a]\ntrain: l.txt", "l.txt": "z.jpg"},
            "l.txt: no image",
        ),
    ],
)
def test_files_that_cannot_be_used(files: Dict[str, str], message: str, load: Any) -> None:
    with pytest.raises(SourceError, match=message):
        load(files, "a.jpg")


def test_labels_without_an_image_are_said(load: Any) -> None:
    export = load({"a.txt": SQUARE, "lost.txt": f"{SQUARE}\n{SQUARE}\n"}, "a.jpg")
    (remark,) = export.remarks
    assert remark.startswith("annotations whose text file belongs to no image: 2, e.g. in ")
