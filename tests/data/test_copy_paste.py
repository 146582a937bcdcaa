"""Copy-paste: what is pasted where, worked by hand, and what leaves an image as it is."""

import copy
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import pytest
from PIL import Image

from effps_solo.data.copy_paste import CopyPaste
from effps_solo.data.mapper import PanopticDatasetMapper, read_dense_segments
from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.utils.image_io import ImageError

LABEL_SPACE = PanopticLabelSpace({24: 1, 26: 2}, {7: 0})  # persons and cars on a road
ROAD, PERSON, CAR = 0, 1, 2
SIZE = (40, 60)


def write(folder: Path, name: str, objects: Dict[int, List[Any]], value: int) -> Dict[str, Any]:
    """A grey image of a road with {id: [category, rows, columns]}, each object as bright as its id."""
    ids = np.full(SIZE, 1)
    image = np.full((*SIZE, 3), value, dtype=np.uint8)
    for number, (_, rows, columns) in objects.items():
        ids[rows, columns], image[rows, columns] = number, number
    Image.fromarray(np.stack([ids, 0 * ids, 0 * ids], -1).astype(np.uint8)).save(
        folder / f"{name}_ids.png"
    )
    Image.fromarray(image).save(folder / f"{name}.png")
    segments = [{"id": number, "category_id": each[0]} for number, each in objects.items()]
    return {
        "file_name": str(folder / f"{name}.png"),
        "pan_seg_file_name": str(folder / f"{name}_ids.png"),
        "segments_info": [{"id": 1, "category_id": ROAD}, *segments],
    }


def paste_of(records: List[Dict[str, Any]], max_objects: int = 3) -> CopyPaste:
    return CopyPaste(records, label_space=LABEL_SPACE, max_objects=max_objects, image_format="RGB")


def read(record: Dict[str, Any]) -> Any:
    image = np.array(Image.open(record["file_name"]))
    return image, read_dense_segments(record["pan_seg_file_name"], record["segments_info"])


def test_an_object_keeps_its_rows_its_pixels_and_its_class(tmp_path: Path) -> None:
    source = write(tmp_path, "source", {50: [CAR, slice(30, 36), slice(5, 15)]}, 9)
    source["segments_info"][1]["iscrowd"] = 0
    target = write(tmp_path, "target", {70: [PERSON, slice(28, 40), slice(20, 23)]}, 5)
    paste, (image, segments) = paste_of([source]), read(target)
    before = image.copy(), segments.ids.copy(), copy.deepcopy(segments.info)
    counts, columns = [], set()
    np.random.seed(0)
    for _ in range(60):
        new_image, new = paste(image, segments)
        added = new.info[len(segments.info) :]
        counts.append(len(added))
        assert all(s["category_id"] == CAR for s in added)
        pasted = new.ids >= len(segments.info)
        assert (new_image[pasted] == 50).all() and (new_image[~pasted] == image[~pasted]).all()
        assert (new.ids[~pasted] == segments.ids[~pasted]).all()
        assert not pasted[:30].any() and not pasted[36:].any()
        if len(added) == 1:
            assert pasted.sum() == 60
            columns.add(int(pasted.any(axis=0).argmax()))
    assert set(counts) == {0, 1, 2, 3} and min(columns) < 10 and max(columns) > 40
    assert (image == before[0]).all() and (segments.ids == before[1]).all()
    assert segments.info == before[2]


def test_classes_are_drawn_alike(tmp_path: Path) -> None:
    many = write(
        tmp_path,
        "many",
        {i: [PERSON, slice(0, 10), slice(6 * i - 18, 6 * i - 12)] for i in range(3, 12)},
        0,
    )
    rare = write(tmp_path, "rare", {90: [CAR, slice(20, 30), slice(0, 20)]}, 0)
    paste, (image, segments) = paste_of([many, rare]), read(rare)
    np.random.seed(0)
    classes = [s["category_id"] for _ in range(200) for s in paste(image, segments)[1].info[256:]]
    assert len(classes) > 200 and 0.4 < np.mean(np.array(classes) == CAR) < 0.6


def test_what_cannot_be_pasted(tmp_path: Path) -> None:
    """Groups, stuff, specks, and objects that are larger than the image."""
    group = write(tmp_path, "group", {50: [CAR, slice(0, 20), slice(0, 20)]}, 9)
    group["segments_info"][1]["iscrowd"] = 1
    speck = write(tmp_path, "speck", {50: [CAR, slice(0, 3), slice(0, 13)]}, 9)
    large = write(tmp_path, "large", {50: [CAR, slice(0, 40), slice(0, 30)]}, 9)
    image, segments = read(write(tmp_path, "target", {}, 5))
    small = type(segments)(segments.ids[:39], segments.info)
    np.random.seed(0)
    for records, target in (
        ([group], segments),
        ([speck], segments),
        ([large], small),
        ([], segments),
    ):
        for _ in range(10):
            new_image, new = paste_of(records)(image[: len(target.ids)], target)
            assert (new.ids == target.ids).all() and (new_image == image[: len(target.ids)]).all()
    assert any(len(paste_of([large])(image, segments)[1].info) > 256 for _ in range(10))


def test_the_image_of_an_object_is_not_there(tmp_path: Path) -> None:
    source = write(tmp_path, "source", {50: [CAR, slice(0, 20), slice(0, 20)]}, 9)
    image, segments = read(source)
    Path(source["file_name"]).unlink()
    with pytest.raises(ImageError, match="source.png"):
        for _ in range(20):
            paste_of([source])(image, segments)


def test_the_mapper_maps_what_was_pasted(tmp_path: Path) -> None:
    source = write(tmp_path, "source", {50: [CAR, slice(30, 36), slice(5, 15)]}, 9)
    target = write(tmp_path, "target", {}, 5)
    mapper = PanopticDatasetMapper(
        True,
        augmentations=[],
        image_format="RGB",
        label_space=LABEL_SPACE,
        paste=paste_of([source], 1),
    )
    np.random.seed(0)
    mapped = [
        mapper({**target, "image_id": 1, "height": SIZE[0], "width": SIZE[1]}) for _ in range(20)
    ]
    assert {len(x["instances"]) for x in mapped} == {0, 1}
    one = next(x for x in mapped if len(x["instances"]))
    assert one["instances"].gt_classes.tolist() == [1] and one["instances"].gt_areas.tolist() == [
        60
    ]
    assert int((one["sem_seg"] == CAR).sum()) == 60
    assert (one["image"][0][one["sem_seg"] == CAR] == 50).all()
