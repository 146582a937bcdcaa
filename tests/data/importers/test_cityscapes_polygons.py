"""Cityscapes' polygons as Cityscapes' own scripts draw them."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.helpers.labels import labels, name2label
from cityscapesscripts.preparation.json2instanceImg import createInstanceImage

from effps_solo.data.importers.cityscapes_polygons import find
from effps_solo.data.importers.classes import ClassList, Label
from effps_solo.data.importers.files import SourceError
from effps_solo.data.importers.source import Export

SIZE = (48, 96)
CITYSCAPES = ClassList(
    [
        {"name": label.name, "isthing": int(label.hasInstances), "id": label.id}
        for label in labels
        if label.trainId not in (-1, 255)
    ],
    "classes.yaml",
)
Load = Callable[..., Export]


def polygon(label: str, *points: List[float], **fields: Any) -> Dict[str, Any]:
    return {"label": label, "polygon": [list(point) for point in points], **fields}


@pytest.fixture
def load(tmp_path: Path, write_image: Callable[..., Path]) -> Load:
    def run(objects: List[Dict[str, Any]], height: int = SIZE[0], k: int = 0) -> Export:
        write_image(f"images/ulm/ulm_{k}_leftImg8bit.png", *SIZE)
        content = {"imgHeight": height, "imgWidth": SIZE[1], "objects": objects}
        path = tmp_path / "gt" / "ulm" / f"ulm_{k}_gtFine_polygons.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return find(str(tmp_path / "gt"), str(tmp_path / "images"))

    return run


def labels_of(export: Export) -> Dict[str, int]:
    return {label.name: label.num_annotations for label in export.count_labels()}


def test_a_group_is_no_label_of_its_own(load: Load, tmp_path: Path) -> None:
    names = ["car", "cargroup", "cargroup", "rowgroup", "group"]
    export = load([polygon(name, [0, 0], [9, 0], [9, 9]) for name in names])
    assert labels_of(export) == {"car": 1, "rowgroup": 1, "group": 1}


@pytest.mark.parametrize("seed", range(15))
def test_as_cityscapesscripts(load: Load, draw: Any, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = ["road", "sky", "car", "person", "cargroup", "persongroup", "ego vehicle", "pole"]
    objects = []
    for k in range(25):
        points = rng.integers(-5, (SIZE[1] + 5, SIZE[0] + 5), (int(rng.integers(3, 8)), 2))
        objects.append(polygon(str(rng.choice(names)), *points.tolist(), deleted=int(k % 9 == 8)))
    ids, info, _ = draw(load(objects), classes=CITYSCAPES)

    annotation = Annotation()
    annotation.fromJsonText((tmp_path / "gt/ulm/ulm_0_gtFine_polygons.json").read_text())
    theirs = np.array(createInstanceImage(annotation, "ids"))
    pairs = {(0, None)}
    for segment in info:
        (value,) = np.unique(theirs[ids == segment["id"]])
        label = value // 1000 if value >= 1000 else value
        assert label == segment["category_id"]
        is_thing = label in (name2label["car"].id, name2label["person"].id)
        assert segment["iscrowd"] == (is_thing and value < 1000)
        pairs.add((segment["id"], value))
    assert len({value for _, value in pairs}) == len(pairs)  # no two segments are one of theirs
    unnamed = theirs[ids == 0]
    assert set(np.unique(unnamed)) <= {0, name2label["ego vehicle"].id}


def test_several_images_and_notes(load: Load, draw: Any) -> None:
    load([polygon("car", (0, 0), (9, 0), (9, 9))])
    source = load(
        [
            polygon("rider", (0, 0), (1, 1)),
            polygon("dog", (0, 0), (9, 0), (9, 9)),
            polygon("roadgroup", (0, 0), (9, 0), (9, 9)),
        ],
        k=1,
    )
    assert len(source.splits[""]) == 2
    assert [s["category_id"] for s in draw(source, 0, CITYSCAPES)[1]] == [26]
    ids, info, notes = draw(source, 1, CITYSCAPES)
    assert not ids.any() and info == []
    assert notes == {
        "of less than three points": 1,
        "with the label 'dog', which no class names: void": 1,
        "with the label 'roadgroup', which no class names: void": 1,
    }


def test_plain_names(load: Load, tmp_path: Path, write_image: Callable[..., Path]) -> None:
    photo = write_image("photos/1.jpg", *SIZE)
    (tmp_path / "polygons").mkdir()
    (tmp_path / "polygons" / "1_polygons.json").write_text("{}")
    export = find(str(tmp_path / "polygons"), str(tmp_path / "photos"))
    assert [item.image for item in export.splits[""]] == [str(photo)]


def test_broken_files(load: Load, draw: Any, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="polygons.json is made for 96x50 pixels, .* 96x48"):
        draw(load([], height=50))
    with pytest.raises(SourceError, match="polygons.json: object 0: .9. has an odd number"):
        draw(load([polygon("car", (0, 0), (9,), (9, 9))]))
    export = load([])
    (tmp_path / "gt" / "ulm" / "ulm_0_gtFine_polygons.json").write_text("{")
    with pytest.raises(SourceError, match="polygons.json cannot be read as JSON"):
        export.count_labels()


def test_labels(load: Load) -> None:
    deleted = polygon("hidden", (0, 0), (9, 0), (9, 9), deleted=1)
    export = load([polygon("car", (0, 0)), polygon("car", (0, 0)), polygon("sky", (0, 0)), deleted])
    assert export.count_labels()[:2] == [Label("car", 2), Label("sky", 1)]
    assert labels_of(export) == {"car": 2, "sky": 1}


def test_splits_by_folder(tmp_path: Path, write_image: Callable[..., Path]) -> None:
    for split in ("train", "val"):
        write_image(f"leftImg8bit/{split}/ulm/1_leftImg8bit.png", *SIZE)
        path = tmp_path / "gtFine" / split / "ulm" / "1_gtFine_polygons.json"
        path.parent.mkdir(parents=True)
        path.write_text('{"objects": []}')
    export = find(str(tmp_path / "gtFine"), str(tmp_path / "leftImg8bit"))
    assert {split: len(items) for split, items in export.splits.items()} == {"train": 1, "val": 1}
