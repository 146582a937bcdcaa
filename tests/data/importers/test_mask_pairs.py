"""Masks of classes and objects: VOC, CVAT and plain numbers; colours, palettes and grey alike."""

from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import numpy as np
import pytest
from PIL import Image

from effps_solo.data.importers.classes import ClassList, Label
from effps_solo.data.importers.files import SourceError
from effps_solo.data.importers.mask_pairs import find
from effps_solo.utils.image_io import ImageError

SIZE = (20, 30)
LABELS = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:128,0,0::\nroad:0,128,0:kerb:\n"
CLASSES = ClassList(
    [
        {"name": "car", "isthing": 1, "labels": ["car", 1]},
        {"name": "road", "isthing": 0, "labels": ["road", 2]},
    ],
    "",
)
COLORS = np.zeros((256, 3), dtype=np.uint8)
COLORS[:4] = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
COLORS[255] = [224, 224, 192]
KINDS = ("color", "palette", "grey", "16 bits")
Write = Callable[..., None]


def scene() -> Dict[str, np.ndarray]:
    """Two cars that touch on a road, and a third of two parts; a border of void."""
    classes, objects = np.zeros((2, *SIZE), dtype=np.uint8)
    classes[10:] = 2
    for k, (x0, x1) in enumerate([(0, 5), (5, 9), (12, 15), (20, 25)]):
        classes[5:12, x0:x1], objects[5:12, x0:x1] = 1, min(k, 2) + 1
    classes[4], objects[4] = 255, 255
    return {"classes": classes, "objects": objects}


@pytest.fixture
def write(tmp_path: Path, write_image: Any) -> Write:
    def mask(name: str, values: np.ndarray, kind: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "16 bits":
            image = Image.fromarray(values.astype(np.uint16))
        else:
            image = Image.fromarray(COLORS[values] if kind == "color" else values)
        if kind == "palette":
            image.putpalette(COLORS.tobytes())
        image.save(path)

    def run(
        kind: str = "color",
        name: str = "a",
        folders: Any = ("SegmentationClass", "SegmentationObject"),
        labels: Optional[str] = LABELS,
        **masks: np.ndarray,
    ) -> None:
        write_image(f"JPEGImages/{name}.jpg", *SIZE)
        for folder, values in zip(folders, {**scene(), **masks}.values()):
            mask(f"{folder}/{name}.png", values, kind)
        if labels is not None:
            (tmp_path / "labelmap.txt").write_text(labels)

    return run


@pytest.mark.parametrize("kind", KINDS[:3])
def test_the_tree_of_voc(kind: str, write: Write, tmp_path: Path, draw: Any) -> None:
    masks = scene()
    if kind == "grey":
        masks["objects"][4] = 0  # 255 may be an object there
    write(kind, **masks)
    export = find(str(tmp_path))
    assert export.count_labels() == [
        Label("background", 1, 0, color=[0, 0, 0]),
        Label("car", 1, color=[128, 0, 0]),
        Label("road", 1, color=[0, 128, 0]),
    ]
    ids, info, left_out = draw(export, classes=CLASSES)
    cars = [s for s in info if s["category_id"] == 1]
    assert sorted(s["area"] for s in cars) == [28, 35, 56]
    assert not any(s["iscrowd"] for s in info)
    assert np.array_equal(ids != 0, np.isin(masks["classes"], (1, 2)))
    assert left_out == {"with the label 'background', which no class names: void": 1}
    background = ClassList([*CLASSES.categories, {"name": "background", "isthing": 0, "id": 9}], "")
    ids, _, left_out = draw(export, classes=background)
    assert (ids == 0).sum() == SIZE[1] and not left_out


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize(
    "folders", [("semantic", "instance"), ("Semantic_masks", "Instance_masks")]
)
def test_two_folders_of_numbers(
    kind: str, folders: Any, write: Write, tmp_path: Path, draw: Any
) -> None:
    """The classes are those of a list, by their labels or ids; object 255 is one, but in palettes."""
    write(kind, folders=folders, labels=None)
    export = find(str(tmp_path))
    assert [label.name for label in export.count_labels()] == ["0", "1", "2"]
    entries = [{"name": "car", "isthing": 1, "id": 1}, {"name": "road", "isthing": 0, "id": 2}]
    classes = ClassList(export.complete(entries, ""), "")
    _, info, left_out = draw(export, classes=classes)
    assert sorted(s["area"] for s in info) == [28, 35, 56, 300 - 34]
    assert left_out == {"with the label '0', which no class names: void": 1}


def test_many_objects(write: Write, tmp_path: Path, draw: Any) -> None:
    objects = np.arange(600, dtype=np.uint16).reshape(SIZE) + 1
    classes = np.ones(SIZE, dtype=np.uint16)
    write(
        "16 bits", folders=("semantic", "instance"), labels=None, classes=classes, objects=objects
    )
    assert [s["area"] for s in draw(find(str(tmp_path)), classes=CLASSES)[1]] == [1] * 600


def test_things_without_objects(write: Write, tmp_path: Path, draw: Any) -> None:
    """Without a mask of objects they are the regions; in one without number, a crowd."""
    write(folders=("SegmentationClass",))
    export = find(str(tmp_path))
    assert export.remarks == (
        "1 masks of classes have none of objects: each connected region of a thing is an object",
    )
    _, info, _ = draw(export, classes=CLASSES)
    assert sorted(s["area"] for s in info if s["category_id"] == 1) == [21, 35, 63]
    masks = scene()
    masks["objects"][masks["objects"] == 3] = 0
    masks["objects"][masks["objects"] == 2] = 255
    write(**masks)
    _, info, left_out = draw(find(str(tmp_path)), classes=CLASSES)
    cars = [(s["area"], s["iscrowd"]) for s in info if s["category_id"] == 1]
    assert sorted(cars) == [(35, 0), (56, 1)]
    assert left_out["of a thing, where the objects are void"] == 1


def test_colors_that_the_label_map_lacks_are_counted(
    write: Write, tmp_path: Path, draw: Any
) -> None:
    classes = scene()["classes"]
    classes[0] = 3
    write(classes=classes)
    _, _, left_out = draw(find(str(tmp_path)), classes=CLASSES)
    assert left_out["of colours that labelmap.txt lacks: void"] == 1


def test_lists_are_splits(write: Write, tmp_path: Path) -> None:
    for name in "abcd":
        write(name=name)
    lists = {"train": "a\nb\n", "val": "c\n\n", "trainval": "a\nb\nc\n", "test": "x\ny\n"}
    folder = tmp_path / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True)
    for name, text in lists.items():
        (folder / f"{name}.txt").write_text(text)

    def names() -> Dict[str, List[str]]:
        found = find(str(tmp_path)).splits
        return {split: [Path(i.image).stem for i in items] for split, items in found.items()}

    assert names() == {"train": ["a", "b"], "val": ["c"]}
    missing, others = find(str(tmp_path)).remarks
    assert missing.endswith("test.txt without a mask: 2, e.g. x")
    assert others == f"masks in no list of {folder}: 1, e.g. d"
    for name in ("train", "val", "trainval", "test"):
        (folder / f"{name}.txt").unlink()
    (folder / "default.txt").write_text("a\nb\nc\nd\n")  # CVAT's, of a task without subsets
    assert names() == {"": ["a", "b", "c", "d"]}


def test_images_elsewhere(write: Write, tmp_path: Path, write_image: Any) -> None:
    write(folders=("e/SegmentationClass",))
    with pytest.raises(SourceError, match="no folder JPEGImages or images; add --images"):
        find(str(tmp_path / "e"))
    export = find(str(tmp_path / "e" / "SegmentationClass"), str(tmp_path / "JPEGImages"))
    assert export.splits[""][0].image == str(tmp_path / "JPEGImages" / "a.jpg")


def test_jpegs_are_refused(write: Write, tmp_path: Path) -> None:
    write()
    mask = tmp_path / "SegmentationClass" / "a.png"
    Image.fromarray(COLORS[scene()["classes"]]).save(mask, format="JPEG")
    with pytest.raises(SourceError, match="is a JPEG, whose compression changes labels"):
        find(str(tmp_path)).count_labels()
    mask.rename(mask.with_suffix(".jpg"))
    with pytest.raises(SourceError, match="whose compression changes labels"):
        find(str(tmp_path))


@pytest.mark.parametrize(
    "labels, message",
    [
        ("car\n", "line 1 is not 'label:r,g,b:parts:actions'"),
        ("car:1,2,300::", "line 1 is not"),
        ("car:1,2,3::\nbus:1,2,3::", "car and bus have one colour"),
    ],
)
def test_label_maps_that_cannot_be_used(
    labels: str, message: str, write: Write, tmp_path: Path
) -> None:
    write(labels=labels)
    with pytest.raises(SourceError, match=message):
        find(str(tmp_path))


def test_masks_that_cannot_be_used(write: Write, tmp_path: Path, draw: Any) -> None:
    write(objects=np.zeros((19, 30), dtype=np.uint8))
    with pytest.raises(SourceError, match="SegmentationObject/a.png is made for 30x19 pixels"):
        draw(find(str(tmp_path)), classes=CLASSES)
    (tmp_path / "SegmentationClass" / "a.png").write_bytes(b"\x89PNG")
    with pytest.raises(ImageError, match="SegmentationClass/a.png cannot be read as an image"):
        draw(find(str(tmp_path)), classes=CLASSES)
    (tmp_path / "SegmentationObject" / "a.png").unlink()
    Image.new("L", SIZE[::-1]).save(tmp_path / "SegmentationClass" / "a.png", format="JPEG")
    with pytest.raises(SourceError, match="^[^ ]*a.png is a JPEG, whose compression"):
        draw(find(str(tmp_path)), classes=CLASSES)
    with pytest.raises(SourceError, match="holds no masks in SegmentationClass or semantic"):
        find(str(tmp_path / "JPEGImages"))


def test_an_empty_mask(write: Write, tmp_path: Path, draw: Any) -> None:
    nothing = np.zeros(SIZE, dtype=np.uint8)
    write(classes=nothing, objects=nothing)
    assert draw(find(str(tmp_path)), classes=CLASSES)[1] == []
