"""Whole exports of labelling tools by one command: what is in the data set, stated independently."""

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, List, Set, Tuple

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from effps_solo.__main__ import main
from effps_solo.structures.panoptic_png import read_segment_ids

FACADES = Path(__file__).resolve().parents[3] / "shared" / "data" / "facades"
THINGS, STUFF = ["window", "car"], ["facade", "street"]
ROOT = "facades-v3"
SIZE = (60, 80)
Run = Callable[..., int]
Box = Tuple[str, int, int, int, int]  # label, rows from and to, columns from and to

# What each photograph shows, large before small: stuff below windows, a car before both kinds of stuff.
SCENES: Dict[str, List[Box]] = {
    "IMG_01_1": [("facade", 0, 45, 0, 80), ("street", 45, 60, 0, 80), ("window", 5, 15, 10, 20),
                 ("window", 5, 15, 20, 30), ("car", 38, 56, 30, 60)],
    "IMG_01_2": [("facade", 10, 60, 5, 75), ("window", 20, 50, 10, 40), ("window", 25, 35, 15, 20)],
    "IMG_02_1": [("street", 30, 60, 0, 80)],
    "IMG_03_1": [("facade", 0, 60, 0, 40), ("car", 50, 60, 30, 50)],
    "IMG_03_2": [],
}  # fmt: skip
SPLITS = {"train": ["IMG_01_1", "IMG_02_1", "IMG_03_2"], "valid": ["IMG_01_2", "IMG_03_1"]}


def polygon(box: Box) -> List[float]:
    _, y0, y1, x0, x1 = box
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def write_roboflow(root: Path) -> None:
    """Its root category, which nothing uses, names without folders, images in folders, no isthing."""
    names = [*THINGS, *STUFF, "shop"]
    categories = [{"id": 0, "name": ROOT, "supercategory": "none"}]
    categories += [{"id": k, "name": n, "supercategory": ROOT} for k, n in enumerate(names, 1)]
    ids = {category["name"]: category["id"] for category in categories}
    for split, scenes in SPLITS.items():
        content: Dict[str, Any] = {"images": [], "annotations": [], "categories": categories}
        for number, scene in enumerate(scenes):
            name = f"{scene}_jpg.rf.{number:032x}.jpg"
            path = root / split / ("day" if number % 2 else "night") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            seed = int(scene.replace("IMG", "").replace("_", ""))
            noise = np.random.default_rng(seed).integers(0, 255, (*SIZE, 3))
            Image.fromarray(noise.astype(np.uint8)).save(path)
            size = {"height": SIZE[0], "width": SIZE[1]}
            content["images"].append({"id": number, "file_name": name, "license": 1, **size})
            for box in reversed(SCENES[scene]):
                content["annotations"].append(
                    {
                        "id": len(content["annotations"]),
                        "image_id": number,
                        "category_id": ids[box[0]],
                        "bbox": [box[3], box[1], box[4] - box[3], box[2] - box[1]],
                        "area": (box[2] - box[1]) * (box[4] - box[3]),
                        "segmentation": [polygon(box)],
                        "iscrowd": 0,
                    }
                )
        (root / split / "_annotations.coco.json").write_text(json.dumps(content))


def expected_areas(scene: str) -> List[Tuple[str, int]]:
    """Class and area of the segments, painted pixel by pixel."""
    top = np.full(SIZE, -1)
    for k, (_, y0, y1, x0, x1) in enumerate(SCENES[scene]):
        top[y0:y1, x0:x1] = k
    labels = [box[0] for box in SCENES[scene]]
    stuff = {n: sum((top == k).sum() for k, x in enumerate(labels) if x == n) for n in STUFF}
    things = [(n, int((top == k).sum())) for k, n in enumerate(labels) if n in THINGS]
    return sorted([*things, *((n, int(area)) for n, area in stuff.items() if area)])


def imported(folder: Path, split: str) -> Dict[str, List[Tuple[str, int]]]:
    """Image -> class and area of its segments, measured in the PNG."""
    content = json.loads((folder / f"panoptic_{split}.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    found = {}
    for image, annotation in zip(content["images"], content["annotations"]):
        ids = read_segment_ids(str(folder / f"panoptic_{split}" / annotation["file_name"]))
        assert set(np.unique(ids)) - {0} == {s["id"] for s in annotation["segments_info"]}
        areas = [
            (names[s["category_id"]], int((ids == s["id"]).sum()))
            for s in annotation["segments_info"]
        ]
        found[Path(image["file_name"]).name] = sorted(areas)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def start(*words: str, kind: str = "coco-instances", annotations: str = "export") -> int:
        where = ["--annotations", str(tmp_path / annotations), "--output", str(tmp_path / "out")]
        return main(["import-dataset", "--from", kind, "--workers", "1", *where, *words])

    return start


def test_roboflow_by_one_command(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_roboflow(tmp_path / "export")
    assert run("--stuff", *STUFF) == 0
    output = capsys.readouterr().out
    assert f"left out: {ROOT} (id 0), shop (id 5)" in output
    assert "out_train: 3 images, 6 of 6 annotations" in output
    assert "out_val: 2 images, 5 of 5 annotations" in output
    assert "things lie over stuff, and small shapes over large ones" in output
    for split, name in (("train", "train"), ("valid", "val")):
        found = imported(tmp_path / "out", name)
        assert len(found) == len(SPLITS[split])
        for file, areas in found.items():
            assert areas == expected_areas(file.split("_jpg")[0]), file
    content = json.loads((tmp_path / "out" / "panoptic_val.json").read_text())
    kinds = {c["name"]: (c["id"], c["isthing"]) for c in content["categories"]}
    assert kinds == {"window": (1, 1), "car": (2, 1), "facade": (3, 0), "street": (4, 0)}
    words = ["--description", str(tmp_path / "out" / "out.yaml"), "--workers", "1"]
    assert main(["check-dataset", *words]) == 0
    output = capsys.readouterr().out
    assert "group-in-several-splits" in output and "unlisted" not in output


def test_the_first_run_asks_which_labels_are_stuff(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_roboflow(tmp_path / "export")
    assert run() == 0
    output = capsys.readouterr().out
    assert "run it again:\n" in output and "import-dataset --from coco-instances" in output
    path = tmp_path / "out" / "classes.yaml"
    assert os.listdir(tmp_path / "out") == ["classes.yaml"]
    text = path.read_text()
    assert "- {name: facade, isthing: 1, id: 3}  # 3 annotations\n" in text and ROOT in text
    for name in STUFF:
        text = text.replace(f"name: {name}, isthing: 1", f"name: {name}, isthing: 0")
    path.write_text(text)
    assert run() == 0
    assert imported(tmp_path / "out", "val")["IMG_03_1_jpg.rf.%032x.jpg" % 1] == [
        ("car", 200),
        ("facade", 2300),
    ]


def test_groups_and_a_background(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_roboflow(tmp_path / "export")
    words = ["--stuff", *STUFF, "--background", "sky", "--group-by", r"IMG_\d+"]
    assert run(*words) == 0
    assert "images moved to the split of their group" in capsys.readouterr().out
    train, val = (imported(tmp_path / "out", split) for split in ("train", "val"))
    photos = [{name[:6] for name in part} for part in (train, val)]
    assert photos[0] | photos[1] == {"IMG_01", "IMG_02", "IMG_03"} and not photos[0] & photos[1]
    for name, areas in {**train, **val}.items():
        assert sum(area for _, area in areas) == SIZE[0] * SIZE[1], name
    assert sum(("sky", 4800) in areas for areas in {**train, **val}.values()) == 1


def test_drawn_anew_by_groups(run: Run, tmp_path: Path) -> None:
    write_roboflow(tmp_path / "export")
    words = ["--stuff", *STUFF, "--split", "train", "--val-fraction", "0.3"]
    assert run(*words, "--group-by", r"IMG_\d+") == 0
    val = imported(tmp_path / "out", "val")
    train = imported(tmp_path / "out", "train")
    assert len(train) + len(val) == 5 and len(val) in (1, 2)
    assert not {name[:6] for name in train} & {name[:6] for name in val}


@pytest.mark.parametrize("word", ["--relative", "--copy"])
def test_a_data_set_that_can_be_moved(run: Run, tmp_path: Path, word: str) -> None:
    write_roboflow(tmp_path / "work" / "export")
    where = ["--annotations", str(tmp_path / "work" / "export"), "--workers", "1"]
    words = ["import-dataset", *where, "--output", str(tmp_path / "work" / "out"), word]
    for _ in range(2):
        assert main([*words, "--stuff", *STUFF]) == 0
    (tmp_path / "work").rename(tmp_path / "moved")
    folder = tmp_path / "moved" / "out"
    if word == "--copy":
        (tmp_path / "moved" / "export").rename(tmp_path / "gone")
        assert len(list((folder / "train").rglob("*.jpg"))) == 3
    words = ["--description", str(folder / "out.yaml"), "--workers", "1"]
    assert main(["check-dataset", *words]) == 0


def test_copies_below_the_images_are_no_images(run: Run, tmp_path: Path) -> None:
    write_roboflow(tmp_path / "export")
    words = ["--stuff", *STUFF, "--copy", "--output", str(tmp_path / "export" / "set")]
    for _ in range(2):
        assert run(*words) == 0
    assert len(imported(tmp_path / "export" / "set", "train")) == 3


def test_splits_one_by_one_have_one_class_list(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Each JSON uses some of the classes alone."""
    write_roboflow(tmp_path / "export")
    for split, name in (("train", "train"), ("valid", "val")):
        path = tmp_path / "export" / split / "_annotations.coco.json"
        content = json.loads(path.read_text())
        unused = 4 if split == "train" else 2
        content["annotations"] = [
            a for a in content["annotations"] if a["category_id"] not in (unused, 3)
        ]
        path.write_text(json.dumps(content))
        file = f"export/{split}/_annotations.coco.json"
        assert run("--stuff", "--split", name, annotations=file) == 0
    assert "panoptic_train.json has other classes; import that split again" in (
        capsys.readouterr().out
    ) or _categories(tmp_path, "train") == _categories(tmp_path, "val")
    assert (
        run("--stuff", "--split", "train", annotations="export/train/_annotations.coco.json") == 0
    )
    assert _categories(tmp_path, "train") == _categories(tmp_path, "val")
    assert len(_categories(tmp_path, "train")) >= 2


def _categories(tmp_path: Path, split: str) -> List[Dict[str, Any]]:
    content = json.loads((tmp_path / "out" / f"panoptic_{split}.json").read_text())
    categories: List[Dict[str, Any]] = content["categories"]
    return categories


def test_crowds_that_are_none(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """CVAT writes brush strokes as crowds."""
    path = tmp_path / "export" / "annotations" / "instances_default.json"
    path.parent.mkdir(parents=True)
    (tmp_path / "export" / "images").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "export" / "images" / "a.jpg")
    runs = [[0, 6, 42], [12, 6, 30], [24, 3, 21]]
    annotations = [
        {"id": k, "image_id": 1, "category_id": 1, "iscrowd": 1,
         "segmentation": {"counts": counts, "size": [6, 8]}}
        for k, counts in enumerate(runs)
    ]  # fmt: skip
    image = {"id": 1, "file_name": "a.jpg", "height": 6, "width": 8}
    content = {"images": [image], "annotations": annotations}
    path.write_text(json.dumps({**content, "categories": [{"id": 1, "name": "cell"}]}))
    assert run() == 0
    output = capsys.readouterr().out
    assert "WARNING: 3 of the 3 annotations of cell are crowds" in output
    assert "--crowds-as-objects" in output
    assert imported(tmp_path / "out", "train") == {"a.jpg": [("cell", 15)]}
    assert main(["check-dataset", "--description", str(tmp_path / "out" / "out.yaml")]) == 3
    assert "has 1 crowds and no object" in capsys.readouterr().out
    assert run("--crowds-as-objects") == 0
    assert "WARNING" not in capsys.readouterr().out
    assert imported(tmp_path / "out", "train") == {"a.jpg": [("cell", 3), ("cell", 6), ("cell", 6)]}


def test_boxes_alone(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_roboflow(tmp_path / "export")
    for path in (tmp_path / "export").rglob("*.json"):
        content = json.loads(path.read_text())
        for annotation in content["annotations"]:
            annotation["segmentation"] = []
        path.write_text(json.dumps(content))
    assert run() == 2
    message = capsys.readouterr().err
    assert "none of the 11 annotations has a mask; boxes alone cannot teach" in message
    assert not (tmp_path / "out").exists()
    path = tmp_path / "export" / "train" / "_annotations.coco.json"
    content = json.loads(path.read_text())
    content["annotations"][0].update(segmentation=[[90, 0, 99, 0, 99, 9]])
    path.write_text(json.dumps(content))
    assert run("--stuff", *STUFF) == 2
    assert "of 11: 1 without a pixel in the image, 10 with a box alone, without a mask" in (
        capsys.readouterr().err
    )


def test_the_format_is_what_it_looks_like(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write_roboflow(tmp_path / "export")
    assert run("--stuff", *STUFF, kind="labelme") == 2
    message = capsys.readouterr().err
    assert "_annotations.coco.json looks like COCO instances: choose --from coco-ins" in message
    where = ["--annotations", str(tmp_path / "export"), "--output", str(tmp_path / "out")]
    assert main(["import-dataset", *where, "--workers", "1", "--stuff", *STUFF]) == 0
    (tmp_path / "other").mkdir()
    where = ["--annotations", str(tmp_path / "other"), "--output", str(tmp_path / "out")]
    assert main(["import-dataset", *where]) == 2
    assert "looks like no format; name it by --from" in capsys.readouterr().err
    (tmp_path / "other" / "via.json").write_text('{"_via_img_metadata": {}}')
    for kind in ("coco-instances", "labelme", "cityscapes-polygons"):
        assert run(kind=kind, annotations="other") == 2
        assert 'via.json looks like annotations of VIA: export "COCO"' in capsys.readouterr().err


def test_labelme_in_folders_of_splits(run: Run, tmp_path: Path) -> None:
    for split, names in SPLITS.items():
        for name in names:
            folder = tmp_path / "export" / split
            (folder / "labels").mkdir(parents=True, exist_ok=True)
            Image.new("RGB", SIZE[::-1]).save(folder / f"{name}.jpg")
            shapes = [
                {"label": box[0], "points": np.reshape(polygon(box), (-1, 2)).tolist()}
                for box in SCENES[name]
            ]
            told = {"imagePath": f"..\\{name}.jpg", "shapes": shapes}
            (folder / "labels" / f"{name}.json").write_text(json.dumps(told))
    assert run("--stuff", *STUFF, kind="labelme") == 0
    assert len(imported(tmp_path / "out", "train")) == 3
    assert imported(tmp_path / "out", "val")["IMG_03_1.jpg"] == [
        ("car", 10 * 21),  # the outline belongs to it, of which a row lies below the image
        ("facade", 60 * 41 - 10 * 11),
    ]


@pytest.mark.slow
@pytest.mark.skipif(not FACADES.is_dir(), reason="data set absent: facades")
def test_real_facades_as_an_export(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture, num_images: int = 24
) -> None:
    """Crops of photographs, two of each, whose PNGs become polygons: by one command the data set that was.

    Objects and areas are those that pycocotools and a painter find in the polygons; and nearly all pixels
    have the class of the PNGs of which the polygons were made, some of thin places excepted.
    """
    truth = json.loads((FACADES / "panoptic_val.json").read_text())
    entries = sorted(truth["annotations"], key=lambda entry: entry["file_name"])[:num_images]
    expected = write_facades(tmp_path / "export", entries, truth["categories"])
    file = tmp_path / "export" / "train" / "_annotations.coco.json"
    used = {a["category_id"] for a in json.loads(file.read_text())["annotations"]}
    stuff = [c["name"] for c in truth["categories"] if not c["isthing"] and c["id"] in used]
    splits = ["--val-fraction", "0.25", "--group-by", PHOTOGRAPH]
    assert run("--stuff", *stuff, "--background", "other", *splits) == 0
    assert "left out: facades (id 0)" in capsys.readouterr().out
    id_of = {c["name"]: c["id"] for c in truth["categories"]}
    painted, wrong, photographs = painted_areas(file, {*stuff}), 0, []
    for split in ("train", "val"):
        areas = imported(tmp_path / "out", split)
        assert all(areas[name] == painted.pop(name) for name in areas)
        photographs.append({re.match(PHOTOGRAPH, name)[0] for name in areas})
        content = json.loads((tmp_path / "out" / f"panoptic_{split}.json").read_text())
        names = {c["id"]: c["name"] for c in content["categories"]}
        for image, entry in zip(content["images"], content["annotations"]):
            path = tmp_path / "out" / f"panoptic_{split}" / entry["file_name"]
            ids, name = read_segment_ids(str(path)), Path(image["file_name"]).name
            found = np.zeros(ids.shape, np.uint8)
            for segment in entry["segments_info"]:
                found[ids == segment["id"]] = id_of[names[segment["category_id"]]]
            wrong += (found != expected.pop(name)).sum()
    assert not painted and not expected and not photographs[0] & photographs[1]
    assert wrong < 0.01 * num_images * ids.size


PHOTOGRAPH = r".+(?=_\d+\.jpg)"  # all but the number of the crop


def write_facades(root: Path, entries: List[Any], categories: List[Any]) -> Dict[str, np.ndarray]:
    """An export of one split with a root category, images in folders, and no polygons of "other".

    Returns:
        image -> (H, W) uint8 ids of categories.
    """
    names = {c["id"]: c["name"] for c in categories}
    root_category = {"id": 0, "name": "facades", "supercategory": "none"}
    plain = [{"id": i, "name": n, "supercategory": "facades"} for i, n in names.items() if i < 11]
    content: Dict[str, Any] = {
        "images": [],
        "annotations": [],
        "categories": [root_category, *plain],
    }
    expected = {}
    for k, entry in enumerate(entries):
        name = f"{Path(entry['file_name']).stem}.jpg"
        ids = read_segment_ids(str(FACADES / "panoptic_val" / entry["file_name"]))
        folder = root / "train" / str(k % 3)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(FACADES / "val" / name)
        size = {"height": ids.shape[0], "width": ids.shape[1]}
        content["images"].append({"id": k, "file_name": name, **size})
        expected[name] = np.full(ids.shape, 11, np.uint8)
        for segment in entry["segments_info"]:
            mask, label = ids == segment["id"], segment["category_id"]
            expected[name][mask] = label
            for part in traced(mask, label > 4) if label < 11 else ():
                common = {"id": len(content["annotations"]), "image_id": k, "iscrowd": 0}
                content["annotations"].append(
                    {**common, "category_id": label, "segmentation": part}
                )
    (root / "train" / "_annotations.coco.json").write_text(json.dumps(content))
    return expected


def painted_areas(file: Path, stuff: Set[str]) -> Dict[str, List[Tuple[str, int]]]:
    """Image -> class and area of what is seen: masks of pycocotools, stuff before things, large before small.

    An object that others cover is none; what nothing covers is "other".
    """
    coco, found = COCO(file), {}
    for image in coco.loadImgs(coco.getImgIds()):
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        names = [coco.cats[a["category_id"]]["name"] for a in annotations]
        masks = [coco.annToMask(a) for a in annotations]
        top = np.zeros((image["height"], image["width"]), int)
        for k in sorted(
            range(len(masks)), key=lambda k: (names[k] not in stuff, -int(masks[k].sum()))
        ):
            top[masks[k] > 0] = k + 1
        areas, regions = np.bincount(top.ravel(), minlength=len(masks) + 1), Counter[str]()
        regions["other"] = areas[0]
        things = []
        for name, area in zip(names, areas[1:].tolist()):
            regions[name] += area * (name in stuff)
            things += [(name, area)] * (name not in stuff)
        found[image["file_name"]] = sorted((n, int(a)) for n, a in [*things, *regions.items()] if a)
    return found


def traced(mask: np.ndarray, each: bool) -> List[List[List[float]]]:
    """Outlines in pixel corners, holes filled: one annotation for each part, or one for all."""
    doubled = np.kron(mask, np.ones((2, 2), np.uint8))
    found, _ = cv2.findContours(doubled, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outlines = [((c.reshape(-1, 2) + 0.5) / 2).ravel().tolist() for c in found]
    return [[outline] for outline in outlines] if each else [outlines]
