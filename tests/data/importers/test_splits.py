"""Splits of exports, drawn ones, and groups that stay together."""

import re
from typing import Dict, List, Sequence

import pytest

from effps_solo.data.importers.files import SourceError
from effps_solo.data.importers.source import Item
from effps_solo.data.importers.splits import (
    by_folder,
    choose_splits,
    drawn_split,
    group_key,
    grouped,
    image_root,
    keep_groups,
    split_word,
)


def items(*names: str) -> List[Item]:
    return [Item(f"folder/{name}", (), None) for name in names]


def numbered(*numbers: int) -> List[Item]:
    return items(*(f"{k}.jpg" for k in numbers))


def names_of(found: Sequence[Item]) -> List[str]:
    return [item.image.removeprefix("folder/") for item in found]


def draw(found: List[Item], fraction: float) -> List[int]:
    """Numbers of training and validation images; each image is in one of them."""
    train, val = drawn_split({item.image: [item] for item in found}, fraction)
    assert sorted(names_of(train + val)) == sorted(names_of(found))
    return [len(train), len(val)]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train/_annotations.coco.json", "train"),
        ("valid/_annotations.coco.json", "val"),
        ("Test/x.json", "test"),
        ("annotations/instances_val2017.json", "val"),
        ("instances_default.json", ""),
        ("annotations/instances_train.json", "train"),
        ("trainee.json", ""),
        ("a/b.json", ""),
        ("", ""),
    ],
)
def test_words(path: str, split: str) -> None:
    assert split_word(path) == split


def test_folders_are_splits_where_all_files_lie_in_some() -> None:
    a, b, c = items("train/a.jpg", "valid/x/a.jpg", "a.jpg")
    assert by_folder({"train/a.json": a, "valid/x/a.json": b}) == {"train": [a], "val": [b]}
    assert by_folder({"train/a.json": a, "valid/x/a.json": b, "train.json": c}) == {"": [a, b, c]}
    assert by_folder({}) == {}


@pytest.mark.parametrize(
    ("count", "fraction", "expected"),
    [
        (18, 0.2, [14, 4]),
        (10, 0.1, [9, 1]),
        (26, 0.2, [21, 5]),
        (3, 0.01, [2, 1]),
        (3, 0.99, [1, 2]),
        (2, 0.5, [1, 1]),
        (1000, 0.25, [750, 250]),
    ],
)
def test_the_fraction_is_what_it_says(count: int, fraction: float, expected: List[int]) -> None:
    assert draw(numbered(*range(count)), fraction) == expected


def test_one_image_cannot_be_divided() -> None:
    with pytest.raises(SourceError, match="needs two images or groups of images; there are 1"):
        drawn_split({"a": items("a.jpg", "b.jpg")}, 0.5)


def test_most_images_stay_where_they_are_when_others_are_added() -> None:
    def val(count: int) -> List[str]:
        found = numbered(*range(count))
        return names_of(drawn_split({item.image: [item] for item in found}, 0.2)[1])

    assert val(1000) == val(1000) and len(val(1200)) == 240
    assert len(set(val(1000)) - set(val(1200))) <= 0.05 * 200


def test_groups_come_whole_and_near_the_fraction() -> None:
    found = items(*(f"{photo}_{part}.jpg" for photo in range(50) for part in range(photo % 3 + 1)))
    groups = grouped(found, lambda item: item.image, re.compile(r"(\d+)_\d+\.jpg"))
    assert len(groups) == 50
    train, val = drawn_split(groups, 0.3)
    photos = [{name.split("_")[0] for name in names_of(part)} for part in (train, val)]
    assert not photos[0] & photos[1] and len(photos[0] | photos[1]) == 50
    assert abs(len(val) - 0.3 * len(found)) <= 1.5
    large = {"large": numbered(*range(90)), **{str(k): numbered(k) for k in range(90, 100)}}
    assert len(drawn_split(large, 0.1)[1]) == 10  # without the large one, which would be too much
    assert len(drawn_split({"a": numbered(1, 2), "b": numbered(3, 4, 5)}, 0.01)[1]) == 2


def test_what_a_group_is() -> None:
    assert group_key("clip7/0001.png", re.compile("^[^/]+")) == "clip7"
    assert group_key("a_clip7_x.png", re.compile("(clip(8))|(clip7)")) == "clip7"
    assert group_key("x.png", re.compile("clip")) is None
    with pytest.raises(SourceError, match="--group-by 'clip' matches no image, e.g. not 'folder/"):
        grouped(items("a.jpg"), lambda item: item.image, re.compile("clip"))
    assert grouped([], lambda item: item.image, re.compile("clip")) == {}


def test_groups_of_an_export_come_into_one_split() -> None:
    found = {"train": items("a_1", "a_2", "b_1"), "val": items("a_3", "c_1")}
    groups = grouped([i for p in found.values() for i in p], lambda i: i.image, re.compile("(.)_"))
    splits, moved = keep_groups(found, groups)
    assert {k: sorted(names_of(v)) for k, v in splits.items()} == {
        "train": ["a_1", "a_2", "a_3", "b_1"],
        "val": ["c_1"],
    }
    assert moved == 1
    found = {"train": items("a_1", "a_2", "b_1"), "val": items("b_2")}
    groups = {"a": found["train"][:2], "b": [found["train"][2], *found["val"]]}
    assert {k: len(v) for k, v in keep_groups(found, groups)[0].items()} == {"train": 2, "val": 2}
    groups = {"all": found["train"] + found["val"]}
    with pytest.raises(SourceError, match="--group-by leaves no image in the split val"):
        keep_groups(found, groups)


def choose(found: Dict[str, List[Item]], **options: object) -> Dict[str, int]:
    splits, _ = choose_splits(found, "folder", **options)  # type: ignore[arg-type]
    return {split: len(part) for split, part in splits.items()}


def test_the_splits_of_an_import() -> None:
    export = {"train": numbered(1, 2, 3, 4), "val": numbered(5), "test": []}
    assert choose(export) == {"train": 4, "val": 1}
    assert choose_splits(export, "folder")[1] == ["split test has no image: left out"]
    assert choose(export, split="all") == {"all": 5}
    assert choose(export, split="train", val_fraction=0.4) == {"train": 3, "val": 2}
    assert choose({"": numbered(1, 2)}) == {"train": 2}
    both = {"": numbered(1, 2), "train": numbered(3)}
    assert choose(both) == {"train": 3} and [len(part) for part in both.values()] == [2, 1]
    assert choose({"": numbered(1, 2)}, val_fraction=0.5) == {"train": 1, "val": 1}
    assert choose({"": numbered(1, 2)}, group_by=re.compile("(.)")) == {"train": 2}
    assert choose({"train": numbered(1, 2), "test": numbered(3)}, val_fraction=0.1) == {
        "train": 1,
        "test": 1,
        "val": 1,
    }
    with pytest.raises(SourceError, match="has the splits train, val; leave it out, or divide"):
        choose(export, val_fraction=0.1)
    with pytest.raises(SourceError, match="no annotated image"):
        choose({"train": []})


def test_the_folder_of_a_split() -> None:
    assert image_root("folder", items("train/a.jpg", "train/x/b.jpg")) == "folder/train"
    assert image_root("folder", items("train/a.jpg", "b.jpg")) == "folder"
    assert image_root("folder", items("photos/a.jpg")) == "folder"
    assert image_root("folder", items("train.jpg")) == "folder"
