"""Whole data sets: several faults at once, layouts, instance masks, workers, empty sets."""

import json
import shutil
from dataclasses import replace
from typing import Any, Dict, List

import pytest
from PIL import Image

from effps_solo.data.checks.entries import Category
from effps_solo.data.checks.findings import Finding
from effps_solo.data.checks.plan import PanopticSource
from effps_solo.data.checks.run import CheckedDataset, ExpectedCount, check_datasets
from effps_solo.data.checks.sources import with_instances


def found(checked: List[CheckedDataset]) -> List[Finding]:
    return [finding for dataset in checked for finding in dataset.findings]


def kinds(checked: List[CheckedDataset]) -> List[str]:
    return [finding.kind for finding in found(checked)]


def test_all_faults_are_found_in_one_run(mini: Any) -> None:
    mini.edit_segments(lambda s: s[0].update(area=1))
    mini.edit_segments(lambda s: s[0].update(category_id=55), index=1)
    mini.image(2).with_suffix(".jpg").unlink()
    mini.png(2).write_bytes(mini.png(2).read_bytes()[:90])
    shutil.copy(mini.image(0, "train"), mini.image(1))
    expected = ["wrong-area", "unknown-category", "missing-image", "unreadable-png"]
    assert sorted(kinds(check_datasets(mini.sources()))) == sorted(
        [*expected, "image-in-several-splits"]
    )


def test_messages_name_file_value_and_truth(mini: Any) -> None:
    mini.edit_segments(lambda s: s[2].update(area=11))
    (finding,) = found(check_datasets(mini.sources()))
    assert finding == Finding(
        "wrong-area", "val_0.png", "segment 65537 has area 11, its pixels are 360"
    )


def test_boxes_of_polygons_may_differ_by_less_than_a_pixel(mini: Any) -> None:
    x, y, width, height = 2, 8, 18, 20
    box = [x + 0.4, y - 0.6, width + 0.3, height + 0.9]
    mini.edit_segments(lambda s: s[2].update(bbox=box))
    assert kinds(check_datasets(mini.sources())) == []
    mini.edit_segments(lambda s: s[2].pop("bbox"))  # nothing needs it
    assert kinds(check_datasets(mini.sources())) == []


def test_class_counts_of_a_config(mini: Any) -> None:
    expected = [ExpectedCount("THINGS", 2, True), ExpectedCount("ALL", 5, False)]
    (finding,) = found(check_datasets(mini.sources(), expected=expected))
    assert (finding.kind, finding.subject) == ("class-count-mismatch", "ALL")
    assert "is 5, but the data set has 4 classes" in finding.text


def test_fixed_classes_replace_those_of_the_json(mini: Any) -> None:
    classes = {21: Category("street", False), 7: Category("human", True), 3: Category("car", False)}
    checked = check_datasets(mini.sources(classes=classes)[:1])
    assert sorted(set(kinds(checked))) == ["inconsistent-categories", "unknown-category"]
    assert kinds(checked).count("unknown-category") == 3  # the sky in three images
    assert checked[0].plan.classes == classes


def square(x: float, y: float, side: float) -> List[List[float]]:
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ([square(2, 2, 10), square(20, 2, 10)], []),
        ([square(2, 2, 10), square(3, 2, 10)], ["overlapping-segments"]),
        ([square(2, 2, 10), square(7, 2, 10)], []),  # an IoU of one third
        ([square(2, 2, 10), []], ["empty-segment"]),
        ([square(2, 2, 10), {"size": [40, 48], "counts": [1920]}], ["empty-segment"]),
        ([square(2, 2, 10), [[1, 2]]], ["empty-segment"]),
        ([square(2, 2, 10), [["x"] * 6]], ["malformed-entry"]),
        ([{"size": [41, 48], "counts": [0, 1968]}], ["malformed-entry"]),
        ([None], ["empty-segment"]),
        ([[[1e9, 2, 3, 4, 5, 6]]], ["malformed-entry"]),
        ([[[float("nan"), 2, 3, 4, 5, 6]]], ["malformed-entry"]),
        ([{"size": [40, 48], "counts": [0, 1919]}], ["malformed-entry"]),
        ([square(2, 2, 10)[0]], []),
    ],
)
def test_instance_masks(mini: Any, masks: List[Any], expected: List[str]) -> None:
    annotations = [
        {"id": k, "image_id": 0, "segmentation": mask, "iscrowd": 0} for k, mask in enumerate(masks)
    ]
    crowd = {"id": 99, "image_id": 0, "segmentation": square(2, 2, 10), "iscrowd": 1}
    path = mini.root / "instances.json"
    path.write_text(json.dumps({"annotations": [*annotations, crowd]}))
    (source,) = with_instances(mini.sources()[:1], [str(path)])
    assert kinds(check_datasets([source])) == expected


def test_workers_find_the_same(mini: Any) -> None:
    mini.png(0).write_text("no PNG")
    mini.png(1).unlink()
    mini.edit_segments(lambda s: s[0].update(category_id=55))
    serial = check_datasets(mini.sources())
    parallel = check_datasets(mini.sources(), num_workers=2)
    assert len(found(serial)) == 3 and found(parallel) == found(serial)
    assert [d.statistics for d in parallel] == [d.statistics for d in serial]


def test_an_empty_set(mini: Any) -> None:
    def change(content: Dict[str, Any]) -> None:
        content.update(images=[], annotations=[])

    mini.edit(change, "train")
    (train,) = check_datasets(mini.sources()[:1], num_workers=2)
    assert kinds([train]) == ["empty-split"]
    assert train.statistics.num_segments == 0


def test_splits_in_one_folder_list_files_together(mini: Any) -> None:
    images, pngs = mini.root / "all", mini.root / "all_png"
    images.mkdir(), pngs.mkdir()
    for split in ("train", "val"):
        for path in (mini.root / split).iterdir():
            shutil.copy(path, images)
        for path in (mini.root / f"panoptic_{split}").iterdir():
            shutil.copy(path, pngs)
    sources = [
        PanopticSource(split, str(images), str(pngs), str(mini.json(split)))
        for split in ("train", "val")
    ]
    assert kinds(check_datasets(sources)) == []
    assert kinds(check_datasets(sources[:1])) == ["unlisted-png", "unlisted-image"]


def test_overlays_of_predictions_are_no_annotations(mini: Any) -> None:
    """Those of `predict` lie beside its PNGs of ids, whatever split they are of."""
    for split in ("train", "val"):
        for index in range(3):
            png = mini.png(index, split)
            mini.write_image(png.with_name(f"{png.stem}_overlay.png"), 50 + index)
            png.rename(png.with_name(f"{png.stem}_panoptic.png"))

        def rename(content: Dict[str, Any]) -> None:
            for annotation in content["annotations"]:
                name = annotation["file_name"]
                annotation["file_name"] = name.replace(".png", "_panoptic.png")

        mini.edit(rename, split)
    assert kinds(check_datasets(mini.sources())) == []
    shutil.copy(mini.image(), mini.png().with_name("other_overlay.png"))
    (finding,) = found(check_datasets(mini.sources()))
    assert finding.kind == "unlisted-png" and "1 files" in finding.text
    assert "other_overlay.png" in finding.text


def test_names_of_cityscapes(mini: Any) -> None:
    """Its panoptic JSON names images after the labels, and they lie in folders of cities."""

    def change(content: Dict[str, Any]) -> None:
        for image in content["images"]:
            image["file_name"] = f"bern_000000_{image['id']:06}_gtFine_leftImg8bit.png"

    (mini.root / "val" / "bern").mkdir()
    for index, suffix in enumerate(("png", "png", "jpg")):
        name = f"bern_000000_{5 * index:06}_leftImg8bit.png"
        source = mini.root / "val" / f"val_{index}.{suffix}"
        source.rename(mini.root / "val" / "bern" / name)
    mini.edit(change)
    assert kinds(check_datasets(mini.sources())) == []


def test_images_lie_upright_after_their_exif_orientation(mini: Any) -> None:
    picture = Image.open(mini.image())
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    picture.rotate(90, expand=True).save(mini.image(), exif=exif)
    assert kinds(check_datasets(mini.sources())) == []
    picture.save(mini.image(), exif=exif)
    assert kinds(check_datasets(mini.sources())) == ["stored-pixels"]


def test_files_of_other_splits_in_the_same_folders(mini: Any) -> None:
    """A split whose folder lies in that of the other; PNGs below the images; a split not checked."""
    train, val = mini.sources()
    shutil.move(val.images, str(mini.root / "train" / "val"))
    shutil.move(val.panoptic_png, str(mini.root / "train" / "val" / "labels"))
    inside = {"images": f"{train.images}/val", "panoptic_png": f"{train.images}/val/labels"}
    val = replace(val, **inside)
    assert kinds(check_datasets([train, val])) == []
    assert kinds(check_datasets([train], known=[val])) == []
    assert kinds(check_datasets([train])) == ["unlisted-image"]
    mini.write_image(mini.root / "train" / "val" / "stray.png", 77)
    assert kinds(check_datasets([train, val])) == ["unlisted-image"]  # once


def test_json_with_a_byte_order_mark(mini: Any) -> None:
    mini.json().write_bytes(b"\xef\xbb\xbf" + mini.json().read_bytes())
    assert kinds(check_datasets(mini.sources())) == []
