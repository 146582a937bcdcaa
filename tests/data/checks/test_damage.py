"""Every kind of damage, seeded into a clean data set, is found once and nothing else is."""

import shutil
from typing import Any, Callable, Dict, List, Tuple

import numpy as np
import pytest
from PIL import Image

from effps_solo.data.checks.findings import KINDS
from effps_solo.data.checks.run import CheckedDataset, check_datasets
from effps_solo.structures.panoptic_png import read_segment_ids

# The tests run without packages above them; pytest finds Miniature as the type of the fixture.
Damage = Callable[[Any], Any]


def first(content: Dict[str, Any]) -> List[Dict[str, Any]]:
    """The segments of the first image."""
    segments: List[Dict[str, Any]] = content["annotations"][0]["segments_info"]
    return segments


def json_edit(change: Callable[[Dict[str, Any]], Any]) -> Damage:
    return lambda mini: mini.edit(change)


def new_segment(**values: Any) -> Damage:
    segment = {"id": 5000, "category_id": 3, "iscrowd": 0, "area": 9, "bbox": [0, 0, 3, 3]}
    return json_edit(lambda c: first(c).append({**segment, **values}))


def truncate(path: Any) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def remove_image(mini: Any) -> None:
    mini.edit(lambda c: c["images"].pop(0))
    mini.image().unlink()


def remove_annotation(mini: Any) -> None:
    mini.edit(lambda c: c["annotations"].pop(0))
    mini.png().unlink()


def crop_png(mini: Any) -> None:
    ids = Image.open(mini.png())
    ids.crop((0, 0, ids.width, ids.height - 1)).save(mini.png())


def split_road(mini: Any) -> None:
    def change(ids: np.ndarray) -> None:
        ids[30:36, 20:] = 8

    mini.redraw(change, {300: 90, 7: 21, 65537: 3, 26002: 7, 255: 7, 8: 21})


def single_pixel(mini: Any) -> None:
    def change(ids: np.ndarray) -> None:
        ids[0, 0] = 9  # a corner pixel is none of the four in the middle of its block

    mini.redraw(change, {300: 90, 7: 21, 65537: 3, 26002: 7, 255: 7, 9: 3})


def clear(mini: Any) -> None:
    mini.redraw(lambda ids: ids.fill(0), {})


def remove_sky(mini: Any) -> None:
    for index in range(3):
        mini.redraw(
            lambda ids: np.putmask(ids, ids == 300, 0), {7: 21, 65537: 3, 26002: 7, 255: 7}, index
        )


def save_png_as(mode: str) -> Damage:
    return lambda mini: Image.open(mini.png()).convert(mode).save(mini.png())


def save_png_as_16_bit(mini: Any) -> None:
    ids = np.zeros((40, 48), dtype=np.uint16)
    Image.fromarray(ids).save(mini.png())


def share_image(mini: Any) -> None:
    mini.edit(lambda c: c["images"][1].update(file_name="val_0.png"))
    mini.image(1).unlink()


def rename_like_train(mini: Any) -> None:
    mini.image().rename(mini.root / "val" / "train_0.png")
    mini.edit(lambda c: c["images"][0].update(file_name="train_0.png"))


def reencode_train_image(mini: Any) -> None:
    """A JPEG that is called .png; full chroma, whose halves would be 3 pixels wide here."""
    picture = Image.open(mini.image(1, "train"))
    picture.save(mini.image(1), format="JPEG", quality=80, subsampling=0)


def rename(mini: Any, split: str, name: str) -> None:
    (mini.root / split / f"{split}_0.png").rename(mini.root / split / name)
    mini.edit(lambda c: c["images"][0].update(file_name=name), split)


def cut_a_photograph_in_two(mini: Any) -> None:
    rename(mini, "train", "photo7_1.png")
    rename(mini, "val", "photo7_2.png")


def with_orientation(turn: int) -> Damage:
    """The third image as its labels are, with an EXIF orientation that turns it away from them."""

    def change(mini: Any) -> None:
        ids = read_segment_ids(str(mini.png(2)))
        rng = np.random.default_rng(turn)
        colors = rng.integers(0, 256, (ids.max() + 1, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[0x0112] = turn
        path = mini.image(2).with_suffix(".jpg")
        Image.fromarray(colors[ids]).save(path, exif=exif, quality=95)

    return change


def make_crowds(*categories: int) -> Damage:
    def change(content: Dict[str, Any]) -> None:
        for segment in (s for a in content["annotations"] for s in a["segments_info"]):
            segment["iscrowd"] = int(segment["category_id"] in categories)

    return json_edit(change)


DAMAGES: List[Tuple[str, str, Damage]] = [
    ("area", "wrong-area", json_edit(lambda c: first(c)[0].update(area=1))),
    ("bbox", "wrong-bbox", json_edit(lambda c: first(c)[0].update(bbox=[0, 0, 9, 20]))),
    ("unlisted id", "id-not-in-json", json_edit(lambda c: first(c).pop(2))),
    ("id without pixels", "segment-not-in-png", new_segment()),
    ("empty", "empty-segment", new_segment(area=0)),
    ("id twice", "duplicate-segment-id", json_edit(lambda c: first(c).append(first(c)[2]))),
    ("id 0", "invalid-segment-id", new_segment(id=0)),
    ("id 2^24", "invalid-segment-id", new_segment(id=256**3)),
    ("category", "unknown-category", json_edit(lambda c: first(c)[0].update(category_id=55))),
    ("crowd", "crowd-on-stuff", json_edit(lambda c: first(c)[0].update(iscrowd=1))),
    ("stuff in two", "split-stuff", split_road),
    ("no iscrowd", "malformed-entry", json_edit(lambda c: first(c)[0].pop("iscrowd"))),
    ("bad area", "malformed-entry", json_edit(lambda c: first(c)[0].update(area="12"))),
    ("bad box", "malformed-entry", json_edit(lambda c: first(c)[0].update(bbox=[1, 2]))),
    (
        "no segments",
        "malformed-entry",
        json_edit(lambda c: c["annotations"][0].pop("segments_info")),
    ),
    ("no width", "malformed-entry", json_edit(lambda c: c["images"][0].pop("width"))),
    (
        "category twice",
        "duplicate-category",
        json_edit(lambda c: c["categories"].append(c["categories"][0])),
    ),
    ("order", "inconsistent-categories", json_edit(lambda c: c["categories"].reverse())),
    (
        "kind of class",
        "inconsistent-categories",
        # The person becomes stuff in val, whose segments are then no things either.
        json_edit(lambda c: c["categories"][3].update(name="lorry")),
    ),
    (
        "image id twice",
        "duplicate-image-id",
        json_edit(lambda c: c["images"].append(c["images"][1])),
    ),
    (
        "annotation twice",
        "duplicate-annotation",
        json_edit(lambda c: c["annotations"].append(c["annotations"][1])),
    ),
    ("no image entry", "annotation-without-image", remove_image),
    ("no annotation", "image-without-annotation", remove_annotation),
    ("image file twice", "file-listed-twice", share_image),
    ("no image", "missing-image", lambda mini: mini.image().unlink()),
    ("no png", "missing-png", lambda mini: mini.png().unlink()),
    ("half an image", "unreadable-image", lambda mini: truncate(mini.image())),
    ("text as image", "unreadable-image", lambda mini: mini.image().write_text("no image")),
    ("half a png", "unreadable-png", lambda mini: truncate(mini.png())),
    ("empty png", "unreadable-png", lambda mini: mini.png().write_bytes(b"")),
    ("grey png", "wrong-png-mode", save_png_as("L")),
    ("palette png", "wrong-png-mode", save_png_as("P")),
    ("16-bit png", "wrong-png-mode", save_png_as_16_bit),
    (
        "jpeg",
        "wrong-png-mode",
        lambda mini: Image.open(mini.png()).save(mini.png(), format="JPEG"),
    ),
    ("image size", "size-mismatch", lambda mini: mini.write_image(mini.image(), 99, (24, 20))),
    ("png size", "size-mismatch", crop_png),
    ("json size", "size-mismatch", json_edit(lambda c: c["images"][0].update(height=41))),
    (
        "stray png",
        "unlisted-png",
        lambda mini: shutil.copy(mini.png(), mini.png().with_name("x.png")),
    ),
    (
        "stray image",
        "unlisted-image",
        lambda mini: mini.write_image(mini.root / "val" / "x.png", 98),
    ),
    (
        "leak",
        "image-in-several-splits",
        lambda mini: shutil.copy(mini.image(1, "train"), mini.image(1)),
    ),
    ("copy", "duplicate-image", lambda mini: shutil.copy(mini.image(0), mini.image(1))),
    ("encoded anew", "similar-image-in-several-splits", reencode_train_image),
    ("same name", "same-file-name", rename_like_train),
    ("no json", "unreadable-json", lambda mini: mini.json().unlink()),
    ("broken json", "unreadable-json", lambda mini: truncate(mini.json())),
    ("no folder", "missing-folder", lambda mini: shutil.rmtree(mini.root / "val")),
    ("no sky", "class-never-occurs", remove_sky),
    ("one pixel", "tiny-object", single_pixel),
    ("color", "invalid-color", json_edit(lambda c: c["categories"][0].update(color="#ff0000"))),
    ("no images", "empty-split", json_edit(lambda c: c.update(images=[], annotations=[]))),
    ("half turn", "turned-pixels", with_orientation(3)),
    ("mirrored", "turned-pixels", with_orientation(4)),
    ("quarter turn", "stored-pixels", with_orientation(6)),
    ("crowds", "only-crowds", make_crowds(7)),
    ("groups", "group-in-several-splits", cut_a_photograph_in_two),
    ("all void", "nothing-labelled", clear),
]
# Seeded by tests of their own.
ELSEWHERE = {
    "class-count-mismatch",
    "no-objects",
    "overlapping-segments",
    "too-many-categories",
}


def kinds(dataset: CheckedDataset) -> List[str]:
    return [finding.kind for finding in dataset.findings]


def test_clean_data_have_no_findings(mini: Any) -> None:
    checked = check_datasets(mini.sources())
    assert [kinds(dataset) for dataset in checked] == [[], []]
    assert [len(dataset.results) for dataset in checked] == [3, 3]


@pytest.mark.parametrize(("kind", "damage"), [d[1:] for d in DAMAGES], ids=[d[0] for d in DAMAGES])
def test_damage_is_found_once_and_named(mini: Any, kind: str, damage: Damage) -> None:
    damage(mini)
    train, val = check_datasets(mini.sources())
    assert kinds(train) == []
    assert kinds(val) == [kind], val.findings
    assert val.findings[0].subject and val.findings[0].text


def test_every_kind_is_seeded() -> None:
    seeded = {kind for _, kind, _ in DAMAGES}
    assert seeded | ELSEWHERE == set(KINDS) and not seeded & ELSEWHERE


def test_crowds_alone_are_no_objects(mini: Any) -> None:
    make_crowds(3, 7)(mini)
    _, val = check_datasets(mini.sources())
    assert sorted(kinds(val)) == ["no-objects", "only-crowds", "only-crowds"]
    texts = {finding.subject: finding.text for finding in val.findings}
    assert texts["person"] == "has 6 crowds and no object"
    assert texts["mini_val"] == "shows no object in 3 images"
    for split in ("train", "val"):
        mini.edit(lambda c: [x.update(isthing=0) for x in c["categories"]], split)
    assert "no-objects" not in kinds(check_datasets(mini.sources())[1])  # there are none to show
