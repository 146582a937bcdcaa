"""COCO instances and semantic PNGs against masks that are laid over each other one by one."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import pycocotools.mask as mask_util
import pytest
from PIL import Image

from effps_solo.data.importers.classes import ClassList, Label, read_entries
from effps_solo.data.importers.coco_instances import find
from effps_solo.data.importers.files import SourceError
from effps_solo.data.importers.source import Export

SIZE = (40, 60)
CATEGORIES = [{"id": 0, "name": "dog"}, {"id": 500, "name": "cat", "supercategory": "pet"}]
STUFF = "[{name: grass, isthing: 0, id: 7}, {name: sky, isthing: 0, labels: [0, 3]}]"
Load = Callable[..., Tuple[Export, Optional[ClassList]]]


def random_mask(rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=np.uint8)
    (y, x), (h, w) = rng.integers(0, (35, 55)), rng.integers(3, 25, 2)
    mask[y : y + h, x : x + w] = rng.random(mask[y : y + h, x : x + w].shape) < 0.9
    return mask


def as_rle(mask: np.ndarray) -> Dict[str, Any]:
    rle = mask_util.encode(np.asfortranarray(mask))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def as_counts(mask: np.ndarray) -> Dict[str, Any]:
    """Uncompressed: lengths of the runs of 0 and 1 by turns, columns first."""
    flat = [0, *mask.T.ravel().tolist()]
    borders = [i - 1 for i in range(1, len(flat)) if flat[i] != flat[i - 1]]
    counts = np.diff([0, *borders, mask.size]).tolist()
    return {"size": list(SIZE), "counts": counts}


@pytest.fixture
def load(tmp_path: Path, write_image: Callable[..., Path]) -> Load:
    """Write one image with annotations and semantic values; the export, and the classes of the list."""

    def run(
        annotations: List[Dict[str, Any]],
        values: Optional[np.ndarray] = None,
        stuff: str = STUFF,
        **image: Any,
    ) -> Tuple[Export, Optional[ClassList]]:
        write_image("images/a/1.jpg", *SIZE)
        entry = {"id": 9, "file_name": "a/1.jpg", "height": SIZE[0], "width": SIZE[1], **image}
        content = {"images": [entry], "categories": CATEGORIES}
        content["annotations"] = [{"image_id": 9, **a} for a in annotations]
        (tmp_path / "instances.json").write_text(json.dumps(content))
        json_file, images = str(tmp_path / "instances.json"), str(tmp_path / "images")
        if values is not None:
            (tmp_path / "semantic" / "a").mkdir(parents=True, exist_ok=True)
            Image.fromarray(values.astype(np.uint8)).save(tmp_path / "semantic" / "a" / "1.png")
            file = str(tmp_path / "stuff.yaml")
            Path(file).write_text(stuff)
            export = find(json_file, images, semantic=f"{tmp_path}/semantic")
            return export, ClassList(export.complete(read_entries(file), file), file)
        return find(json_file, images), None

    return run


@pytest.mark.parametrize("seed", range(10))
def test_equals_masks_laid_over_each_other(load: Load, draw: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    masks = [random_mask(rng) for _ in range(8)]
    annotations = []
    for k, mask in enumerate(masks):
        segmentation = as_counts(mask) if k % 2 else as_rle(mask)
        crowd = int(rng.random() < 0.2)
        category = int(rng.choice([0, 500]))
        annotations.append(
            {"id": k, "category_id": category, "iscrowd": crowd, "segmentation": segmentation}
        )
    values = rng.choice([0, 3, 7, 9, 255], SIZE)
    export, classes = load(annotations, values)
    ids, info, notes = draw(export, classes=classes)

    # What lies on top at each pixel: objects from small to large, then crowds, then values.
    order = sorted(range(8), key=lambda k: (annotations[k]["iscrowd"], masks[k].sum(), -k))
    expected = {7: 7, 0: 501, 3: 501}
    crowds = {s["id"]: s["iscrowd"] for s in info}
    category_of = {0: None, **{s["id"]: s["category_id"] for s in info}}
    owner: Dict[int, int] = {}
    for y in range(SIZE[0]):
        for x in range(SIZE[1]):
            top = next((k for k in order if masks[k][y, x]), None)
            segment = int(ids[y, x])
            if top is None:
                assert category_of[segment] == expected.get(int(values[y, x]))
                continue
            assert category_of[segment] == annotations[top]["category_id"]
            assert crowds[segment] == annotations[top]["iscrowd"]
            if not annotations[top]["iscrowd"]:
                assert owner.setdefault(segment, top) == top
    for segment in info:
        assert segment["area"] == (ids == segment["id"]).sum()
    assert {key for key in notes if "semantic" in key} == {
        f"semantic value {value}, which no class names: void" for value in (9, 255)
    }


def test_polygons_are_those_of_pycocotools(load: Load, draw: Any) -> None:
    parts = [[3.0, 3.0, 20.5, 4.0, 12.0, 30.2], [30.0, 10.0, 50.0, 12.0, 41.3, 33.3]]
    export, _ = load([{"id": 1, "category_id": 500, "segmentation": parts}])
    ids, info, _ = draw(export)
    mask = mask_util.decode(mask_util.merge(mask_util.frPyObjects(parts, *SIZE)))
    assert np.array_equal(ids > 0, mask > 0)
    assert [(s["category_id"], s["area"]) for s in info] == [(500, int(mask.sum()))]
    assert export.count_labels() == [Label("cat", 1, isthing=1, id=500)]
    assert export.unused == {"dog": "dog (id 0)"} and export.remarks == ()


def test_an_image_without_annotations(load: Load, draw: Any) -> None:
    export, _ = load([])
    ids, info, notes = draw(export)
    assert [label.name for label in export.count_labels()] == ["dog", "cat"] and not export.remarks
    assert not ids.any() and info == [] and notes == {}


def test_empty_masks_are_noted(load: Load, draw: Any) -> None:
    empty = as_rle(np.zeros(SIZE, dtype=np.uint8))
    outside = [[70, 5, 80, 5, 80, 9]]
    shapes: List[Any] = [[], empty, [[]], [[5, 5, 9, 9]], None, outside]
    annotations = [{"id": k, "category_id": 0, "segmentation": s} for k, s in enumerate(shapes)]
    annotations += [{"id": 7, "category_id": 0}, {"id": 8, "category_id": 0, "bbox": [1, 2, 3, 4]}]
    ids, info, notes = draw(load(annotations)[0])
    assert info == [] and notes == {
        "without a mask": 4,
        "with a box alone, without a mask": 1,
        "without a pixel in the image": 2,
        "of less than three points": 1,
    }


def test_a_polygon_without_area_before_one_with(load: Load, draw: Any) -> None:
    polygons = [[5, 5, 9, 9], [10, 10, 20, 10, 20, 20, 10, 20]]
    ids, info, _ = draw(load([{"id": 1, "category_id": 0, "segmentation": polygons}])[0])
    assert len(info) == 1 and (ids > 0).sum() == info[0]["area"] == 100


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"category_id": 3, "segmentation": [[1, 1, 5, 1, 5, 5]]}, "category_id 3.*'categories'"),
        ({"segmentation": [["x"] * 6]}, "annotation 4: a coordinate of .* is no number"),
        ({"segmentation": {"size": [9, 9], "counts": [81]}}, "for 9x9 pixels, its image has 60x40"),
        ({"segmentation": {"size": [9, 9]}}, "annotation 4: .* is no RLE with counts and size"),
        ({"segmentation": [None]}, "annotation 4: .None. has an odd number"),
        ({"segmentation": "abc"}, "annotation 4: 'abc' is no list of points"),
        ({"segmentation": [[1, 2, 3]]}, "annotation 4: .1, 2, 3. has an odd number of coordinates"),
        ({"segmentation": [1e9, 1, 5, 5, 1, 5]}, "annotation 4: its point .1e.09, 1. lies far out"),
        ({"image_id": [9]}, "the image_id of annotation 4 is .9.; it must be a whole number"),
        ({"category_id": None}, "the category_id of annotation 4 is None"),
    ],
)
def test_broken_annotations(load: Load, draw: Any, annotation: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message) as error:
        draw(load([{"id": 4, "category_id": 0, **annotation}])[0])
    assert "instances.json" in str(error.value)


def test_sizes_that_differ(load: Load, draw: Any) -> None:
    with pytest.raises(SourceError, match="a/1.jpg of .*instances.json is made for 61x40 .* 60x40"):
        draw(load([], width=61)[0])
    with pytest.raises(SourceError, match="1.png is made for 5x4 pixels, .* 60x40"):
        export, classes = load([], np.zeros((4, 5)))
        draw(export, classes=classes)
    with pytest.raises(SourceError, match="1.png has 3 channels"):
        export, classes = load([], np.zeros((*SIZE, 3)))
        draw(export, classes=classes)


def test_files_that_do_not_fit(load: Load, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="image_id 33, which 'images' does not list"):
        load([{"id": 1, "image_id": 33, "category_id": 0}])
    with pytest.raises(SourceError, match="cow is a thing; list stuff only"):
        load([], np.zeros(SIZE), "[{name: cow, isthing: 1, labels: [3]}]")
    with pytest.raises(SourceError, match="grass has no id and no labels"):
        load([], np.zeros(SIZE), "[{name: grass, isthing: 0}]")
    with pytest.raises(SourceError, match="several classes have the id 500"):
        load([], np.zeros(SIZE), "[{name: grass, isthing: 0, id: 500}]")
    load([], np.zeros(SIZE))
    json_file, images = str(tmp_path / "instances.json"), str(tmp_path / "images")
    with pytest.raises(SourceError, match="--semantic lacks .*nowhere/a/1.png"):
        find(json_file, images, semantic="nowhere")
    with pytest.raises(SourceError, match="none.json cannot be read as JSON"):
        find("none.json", images)
    (tmp_path / "instances.json").write_text("[]")
    with pytest.raises(SourceError, match="instances.json has no list of objects 'images'"):
        find(json_file, images)


SQUARE = [[5.0, 5.0, 25.0, 5.0, 25.0, 25.0, 5.0, 25.0]]


@pytest.mark.parametrize(
    "segmentation",
    [
        SQUARE,
        SQUARE[0],
        [np.reshape(SQUARE, (4, 2)).tolist()],
        [[{"x": x, "y": y} for x, y in np.reshape(SQUARE, (4, 2)).tolist()]],
        [{"size": list(SIZE), "counts": [205, *[20, 20] * 19, 20, 1415]}],
    ],
)
def test_segmentations_as_the_field_writes_them(load: Load, draw: Any, segmentation: Any) -> None:
    export, _ = load([{"id": 1, "category_id": 0, "segmentation": segmentation}])
    ids, info, _ = draw(export)
    assert [s["bbox"] for s in info] == [[5, 5, 20, 20]] and (ids[5:25, 5:25] == 1).all()


def test_ids_of_two_types_and_flags_as_text(load: Load, draw: Any) -> None:
    shape = {"category_id": "0", "segmentation": SQUARE}
    annotations = [
        {"id": 1, "image_id": "9", "iscrowd": "0", **shape},
        {"id": 2, "image_id": 9.0, "iscrowd": "1", **shape},
    ]
    export, _ = load(annotations, height="40", width=60.0)
    _, info, left_out = draw(export)
    assert [s["iscrowd"] for s in info] == [0] and left_out == {"covered entirely by others": 1}


def test_annotations_listed_twice(load: Load, draw: Any) -> None:
    one = {"id": 1, "category_id": 0, "segmentation": SQUARE}
    other = {**one, "segmentation": [[30, 5, 40, 5, 40, 25]]}  # with the id of the first
    _, info, left_out = draw(load([one, one, other])[0])
    assert len(info) == 2 and left_out == {"listed twice": 1}


def write(path: Path, images: Any, annotations: Any, categories: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return str(path)


def test_two_images_with_one_id(tmp_path: Path, write_image: Any) -> None:
    images = [{"id": i, "file_name": name} for i, name in ((1, "a.jpg"), ("1", "b.jpg"))]
    with pytest.raises(SourceError, match="images a.jpg and b.jpg have the id 1"):
        find(write(tmp_path / "c.json", images, [], CATEGORIES))
    with pytest.raises(SourceError, match="image .* has no id or no file_name"):
        find(write(tmp_path / "c.json", [{"id": 1, "file_name": None}], [], CATEGORIES))
    with pytest.raises(SourceError, match="categories 'a' and 'b' have the id 3"):
        find(write(tmp_path / "c.json", [], [], [{"id": 3, "name": n} for n in "ab"]))


def test_categories_of_one_name_and_of_several_files(tmp_path: Path, write_image: Any) -> None:
    """Roboflow's root has the name of a class; the files of an export number their classes apart."""
    lists = {
        "train": [{"id": 0, "name": "car"}, {"id": 1, "name": "car"}, {"id": 2, "name": "bus"}],
        "valid": [{"id": 1, "name": "bus", "color": "#0a0b0c"}, {"id": 7, "name": "car "}],
    }
    for split, categories in lists.items():
        write_image(f"{split}/a.jpg", 30, 30)
        used = [c["id"] for c in categories if c["id"]]
        annotations = [{"id": k, "image_id": 5, "category_id": k} for k in used]
        image = {"id": 5, "file_name": "a.jpg"}
        write(tmp_path / split / "x.json", [image], annotations, categories)
    export = find(str(tmp_path))
    assert {k: [i.image for i in v] for k, v in export.splits.items()} == {
        "train": [f"{tmp_path}/train/a.jpg"],
        "val": [f"{tmp_path}/valid/a.jpg"],
    }
    assert export.count_labels() == [Label("car", 2, id=1), Label("bus", 2, id=2)]
    assert export.unused == {"car": "car (id 0)"}


def test_a_list_of_classes_for_categories(load: Load, tmp_path: Path) -> None:
    export, _ = load([{"id": k, "category_id": c} for k, c in enumerate((0, 500))])
    entries = [{"name": "pet", "isthing": 1, "labels": ["cat"]}, {"name": "dog", "isthing": 0}]
    assert ClassList(export.complete(entries, "f"), "f").categories == [
        {"id": 500, "name": "pet", "isthing": 1},
        {"id": 0, "name": "dog", "isthing": 0},
    ]


def test_images_that_are_missing(tmp_path: Path, write_image: Any) -> None:
    write_image("a.jpg", 30, 30)
    images = [{"id": k, "file_name": f"{name}.jpg"} for k, name in enumerate("abc")]
    file = write(tmp_path / "c.json", images, [], CATEGORIES)
    with pytest.raises(SourceError, match=r"c.json: no image named 'b.jpg' .* \(one of 2 such"):
        find(file)


def test_folders_of_exports(tmp_path: Path, write_image: Any) -> None:
    write_image("images/a.jpg", 30, 30)
    image = [{"id": 1, "file_name": "a.jpg"}]
    for name in ("annotations/instances_default.json", "annotations/person_keypoints_default.json"):
        write(tmp_path / name, image, [], CATEGORIES)
    write(tmp_path / "annotations/panoptic_default.json", image, [{"segments_info": []}], [])
    (tmp_path / "annotations" / "captions.json").write_text('{"images": [], "annotations": []}')
    export = find(str(tmp_path))
    assert [item.image for item in export.splits[""]] == [f"{tmp_path}/images/a.jpg"]
    assert export.images == str(tmp_path)
    assert find(f"{tmp_path}/annotations").splits.keys() == {""}  # whose images lie beside
    file = f"{tmp_path}/annotations/instances_default.json"
    assert [item.image for item in find(file).splits[""]] == [f"{tmp_path}/images/a.jpg"]
    write(tmp_path / "annotations/instances_extra.json", image, [], CATEGORIES)
    with pytest.raises(SourceError, match="instances_extra.json, .*; name one file, or keep one"):
        find(str(tmp_path))
    with pytest.raises(SourceError, match="none cannot be read as JSON: .* No such file"):
        find(f"{tmp_path}/none", "")
