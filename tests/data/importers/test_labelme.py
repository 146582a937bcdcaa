"""Shapes of labelme: kinds, groups, order, and what cannot be used."""

import base64
import io
import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
import pytest
from PIL import Image, ImageDraw

from effps_solo.data.importers.classes import ClassList, Label
from effps_solo.data.importers.files import SourceError
from effps_solo.data.importers.labelme import find
from effps_solo.data.importers.source import Export

SIZE = (20, 30)
CLASSES = ClassList(
    [
        {"name": "cell", "isthing": 1, "id": 0},
        {"name": "dish", "isthing": 0, "id": 900, "labels": ["dish", "plate"]},
    ],
    "classes.yaml",
)
Shape = Dict[str, Any]
Load = Callable[..., Export]


def box(label: str, x0: int, y0: int, x1: int, y1: int, **fields: Any) -> Shape:
    return {"label": label, "points": [[x0, y0], [x1, y1]], "shape_type": "rectangle", **fields}


@pytest.fixture
def load(tmp_path: Path, write_image: Callable[..., Path]) -> Load:
    def run(shapes: List[Shape], size: Tuple[int, int] = SIZE) -> Export:
        write_image("a/1.jpg", *SIZE)
        content = {"shapes": shapes, "imagePath": "..\\1.jpg", "imageData": None}
        content.update(imageHeight=size[0], imageWidth=size[1], version="5.4.1", flags={})
        (tmp_path / "a" / "1.json").write_text(json.dumps(content))
        return find(str(tmp_path))

    return run


def test_things_lie_over_stuff_and_later_over_earlier(load: Load, draw: Any) -> None:
    shapes = [
        box("cell", 0, 0, 9, 9),
        box("cell", 5, 5, 14, 14),
        box("plate", 0, 0, 29, 19),
        box("scratch", 20, 0, 29, 3),
    ]
    ids, info, notes = draw(load(shapes), classes=CLASSES)
    expected = np.full(SIZE, 900)
    expected[:4, 20:] = -1
    expected[:15, :15] = np.where(expected[:15, :15] == 900, 900, 0)
    expected[:10, :10], expected[5:15, 5:15] = 0, 0
    category = {0: -1, **{s["id"]: s["category_id"] for s in info}}
    assert np.array_equal(np.vectorize(category.get)(ids), expected)
    first, second = (s for s in info if s["category_id"] == 0)
    assert (first["area"], second["area"]) == (75, 100)
    assert second["bbox"] == [5, 5, 10, 10]
    assert notes == {"with the label 'scratch', which no class names: void": 1}


def test_shapes_of_a_group_are_one_object(load: Load, draw: Any) -> None:
    shapes = [
        box("cell", 0, 0, 3, 3, group_id=1),
        box("cell", 10, 0, 13, 3, group_id=1),
        box("cell", 20, 0, 23, 3, group_id=2),
        box("cell", 0, 10, 3, 13, group_id=None),
        box("cell", 10, 10, 13, 13),
    ]
    _, info, _ = draw(load(shapes), classes=CLASSES)
    assert [s["area"] for s in info] == [32, 16, 16, 16]


def test_groups_of_things(load: Load, draw: Any) -> None:
    shapes = [
        box("cell", 0, 0, 3, 3, flags={"iscrowd": True}),
        box("cell", 10, 0, 13, 3, flags={"iscrowd": True}),
        box("cell", 20, 0, 23, 3, flags={"iscrowd": False}),
    ]
    _, info, _ = draw(load(shapes), classes=CLASSES)
    assert [(s["iscrowd"], s["area"]) for s in info] == [(1, 32), (0, 16)]


def test_kinds_of_shapes(load: Load, draw: Any) -> None:
    polygon = [[1.5, 2.0], [9.0, 3.5], [4.0, 12.7]]
    mask = np.zeros((4, 5), dtype=np.uint8)
    mask[1:, 2:] = 255
    file = io.BytesIO()
    Image.fromarray(mask).save(file, format="PNG")
    shapes = [
        {"label": "cell", "points": polygon, "shape_type": "polygon"},
        {"label": "cell", "points": [[16, 8], [16, 12]], "shape_type": "circle"},
        {
            "label": "cell",
            "points": [[23, 10], [27, 13]],
            "shape_type": "mask",
            "mask": base64.b64encode(file.getvalue()).decode(),
        },
    ]
    ids, info, _ = draw(load(shapes), classes=CLASSES)
    image = Image.new("I", (SIZE[1], SIZE[0]))
    ImageDraw.Draw(image).polygon([tuple(p) for p in polygon], fill=1, outline=1)
    ImageDraw.Draw(image).ellipse((12, 4, 20, 12), fill=2, outline=2)
    expected = np.array(image)
    expected[11:14, 25:28] = 3
    assert np.array_equal(ids, expected)
    assert len(info) == 3


def test_shapes_without_an_area_are_noted(load: Load, draw: Any) -> None:
    shapes = [
        {"label": "cell", "points": [[1, 1], [5, 5]], "shape_type": "line"},
        {"label": "cell", "points": [[1, 1]], "shape_type": "point"},
        {"label": "cell", "points": [[1, 1], [2, 2]]},
    ]
    ids, info, notes = draw(load(shapes), classes=CLASSES)
    assert not ids.any() and info == []
    assert notes == {
        "of the kind 'line', which has no area": 1,
        "of the kind 'point', which has no area": 1,
        "of less than three points": 1,
    }


def test_broken_shapes(load: Load, draw: Any) -> None:
    corners = [[1, 1], [2, 2]]
    for shape, reason in (
        ({"points": [[1], [2], [3]]}, ".1. has an odd number of coordinates"),
        ({"points": [[1, "x"], [2, 2], [3, 3]]}, "a coordinate of .* is no number"),
        ({"points": [[1, None], [2, 2], [3, 3]]}, "a coordinate is no finite number"),
        ({"points": [[1, 1], [2, 2], [3, 1e7]]}, "its point .3, 1e.07. lies far outside"),
        ({"points": None}, "None is no list of points"),
        ({"points": corners, "shape_type": "mask", "mask": "no png"}, "its mask is no PNG"),
        ({"points": corners, "shape_type": "mask"}, "its mask is no PNG"),
    ):
        with pytest.raises(SourceError, match=f"1.json: shape 0: {reason}"):
            draw(load([{"label": "cell", **shape}]), classes=CLASSES)


def test_files_that_do_not_fit(load: Load, draw: Any, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="1.json is made for 30x21 pixels, .* 30x20"):
        draw(load([], size=(21, 30)), classes=CLASSES)
    source = load([])
    (tmp_path / "a" / "1.json").write_text("{}")
    with pytest.raises(SourceError, match="1.json has no list of objects 'shapes'"):
        draw(source, classes=CLASSES)
    (tmp_path / "a" / "2.json").write_text('{"shapes": []}')
    with pytest.raises(SourceError, match="2.json: no image named '2' in .*check --images"):
        load([])
    (tmp_path / "a" / "2.json").write_text('{"shapes": []')
    with pytest.raises(SourceError, match="2.json cannot be read as JSON"):
        load([])


def test_images_in_another_folder(load: Load, tmp_path: Path, write_image: Any) -> None:
    load([])
    photo = write_image("photos/b/1.png", *SIZE)
    (item,) = find(str(tmp_path / "a"), str(tmp_path / "photos")).splits[""]
    assert item.image == str(photo)
    write_image("photos/c/1.png", *SIZE)
    with pytest.raises(SourceError, match="1.json: several images .*b/1.png, .*c/1.png. named '1'"):
        find(str(tmp_path / "a"), str(tmp_path / "photos"))
    with pytest.raises(SourceError, match="--images 'nowhere' is no folder with images"):
        find(str(tmp_path / "a"), "nowhere")


def test_two_images_of_one_name(load: Load, tmp_path: Path, write_image: Any) -> None:
    load([])
    path = next((tmp_path / "a").glob("*.json"))
    for name in (f"{path.stem}.jpg", f"{path.stem}_leftImg8bit.png"):
        write_image(f"photos/{name}", *SIZE)
    (item,) = find(str(tmp_path / "a"), str(tmp_path / "photos")).splits[""]
    assert item.image == f"{tmp_path}/photos/1.jpg"  # as the JSON tells
    path.write_text(path.read_text().replace("imagePath", "other"))
    with pytest.raises(SourceError, match="several images .*_leftImg8bit.png"):
        find(str(tmp_path / "a"), str(tmp_path / "photos"))


def test_names_of_cityscapes_on_both_sides(load: Load, tmp_path: Path, write_image: Any) -> None:
    load([])
    path = next((tmp_path / "a").glob("*.json"))
    path.rename(path.with_name(f"{path.stem}_leftImg8bit.json"))
    photo = write_image(f"photos/{path.stem}_leftImg8bit.png", *SIZE)
    (item,) = find(str(tmp_path / "a"), str(tmp_path / "photos")).splits[""]
    assert item.image == str(photo)


def test_labels(load: Load, tmp_path: Path) -> None:
    shapes = [box("cell", 0, 0, 1, 1), box("cell ", 0, 0, 1, 1), box("dish", 0, 0, 1, 1), {}]
    assert load(shapes).count_labels() == [Label("cell", 2), Label("dish", 1)]
    with pytest.raises(SourceError, match="--annotations 'nowhere' is no folder with"):
        find("nowhere")


def test_images_that_the_files_tell_of(load: Load, tmp_path: Path, write_image: Any) -> None:
    """The name in the file counts where none lies beside it, seen from the file, with backslashes."""
    load([box("cell", 0, 0, 1, 1)])
    (tmp_path / "a" / "1.jpg").unlink()
    photo = write_image("photos/deep/shot.jpg", *SIZE)
    path = tmp_path / "a" / "1.json"
    told = json.loads(path.read_text())
    for name in ("..\\photos\\deep\\shot.jpg", "D:\\work\\shot.jpg", "shot.jpg", "x/shot.jpeg"):
        path.write_text(json.dumps({**told, "imagePath": name}))
        (item,) = find(str(tmp_path)).splits[""]
        assert item.image == str(photo), name
    path.write_text(json.dumps({**told, "imagePath": "../photos/deep/shot.jpg"}))
    export = find(str(tmp_path / "a"))  # whose images lie elsewhere
    assert export.images == str(tmp_path) and export.splits[""][0].image == str(photo)
    with pytest.raises(SourceError, match="no image named '1'"):
        find(str(tmp_path / "a"), str(write_image("other/x.jpg", *SIZE).parent))
    path.write_text(json.dumps({**told, "imagePath": 7}))
    with pytest.raises(SourceError, match="1.json: no image named '1'"):
        find(str(tmp_path))


def test_files_that_are_none_of_labelme(load: Load, tmp_path: Path) -> None:
    load([])
    (tmp_path / "a" / "trainval.json").write_text('{"images": []}')
    export = find(str(tmp_path))
    assert len(export.splits[""]) == 1
    assert export.remarks == ("no files of labelme: a/trainval.json",)
    (tmp_path / "a" / "1.json").unlink()
    (tmp_path / "a" / "1.jpg").rename(tmp_path / "a" / "2.jpg")
    with pytest.raises(SourceError, match="holds no JSON file of labelme"):
        find(str(tmp_path))


def test_no_size_is_no_contradiction(load: Load, draw: Any) -> None:
    square = {"label": 900, "points": [[1, 1], [9, 1], [9, 9], [1, 9]]}
    classes = ClassList([{"name": "900", "isthing": 1}], "")
    for size in ((None, None), ("20", "30"), (0, 30), (20.0, 30.0)):
        assert [s["area"] for s in draw(load([square], size), classes=classes)[1]] == [81]


@pytest.mark.parametrize("kind", ["rectangle", "oriented_rectangle", "rotation", "polygon"])
def test_four_corners(load: Load, draw: Any, kind: str) -> None:
    corners = [[2, 3], [12, 3], [12, 13], [2, 13]]
    shape = {"label": "cell", "points": corners, "shape_type": kind}
    assert [s["area"] for s in draw(load([shape]), classes=CLASSES)[1]] == [121]


def test_labels_that_are_missing(load: Load, draw: Any) -> None:
    shapes = [box(label, 0, 0, 3, 3) for label in (None, "", " ")]  # type: ignore[arg-type]
    _, info, left_out = draw(load(shapes), classes=CLASSES)
    assert info == [] and left_out == {"without a label": 3}
    odd = [{**box("cell", 0, 0, 3, 3), "flags": ["iscrowd"], "group_id": {}}]
    assert len(draw(load(odd), classes=CLASSES)[1]) == 1
