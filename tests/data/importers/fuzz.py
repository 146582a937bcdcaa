"""Random damage to valid annotation files: ``fuzz.py FORMAT FIRST COUNT`` tries seeds in one process.

No more than 2 GB and a minute for each, no exception that is no message, and of every import that succeeds
all annotations in the file are drawn or counted. A format is a line in CASES.
"""

import base64
import contextlib
import faulthandler
import io
import json
import random
import re
import resource
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image

from effps_solo.__main__ import main as effps_solo
from effps_solo.data.checks.plan import PanopticSource
from effps_solo.data.checks.repair import repair_json
from effps_solo.data.checks.report import as_dict, as_text, exit_status
from effps_solo.data.checks.run import check_datasets
from effps_solo.data.datasets.coco_panoptic import (
    CocoPanopticFiles,
    coco_panoptic_metadata,
    load_coco_panoptic,
)
from effps_solo.data.importers import cvat, mask_pairs, yolo_seg
from effps_solo.data.importers.canvas import SegmentCanvas
from effps_solo.data.importers.classes import ClassList, as_entry
from effps_solo.data.importers.files import image_size
from effps_solo.data.importers.splits import choose_splits
from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.utils.errors import UserError

MEMORY = 2 * 1024**3
SECONDS = 60

Files = Dict[str, bytes]  # path -> content
IMAGES = ("a.png", "b.png")


class Case(NamedTuple):
    """A format.

    Attributes:
        files: valid ones.
        outcome: (folder with damaged files, these) -> what came of them: "refused", "drawn" or "left out".
            Raises where an annotation is lost.
        images: paths in the folder.
    """

    files: Callable[[], Files]
    outcome: Callable[[Path, Files], str]
    images: Tuple[str, str] = IMAGES


def _png(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, format="PNG")
    return data.getvalue()


H, W = 30, 40
IN_SPLITS = ("images/train/a.png", "images/val/b.png")
SQUARE = [[5, 5], [20, 5], [20, 20], [5, 20]]
MASK = base64.b64encode(_png(np.ones((8, 10), bool))).decode()
RUNS = {"counts": [0, 300, 600, 300], "size": [H, W]}
TEXT = {"counts": "P7l0\\\\1", "size": [H, W]}


def coco() -> Files:
    flat = [x for point in SQUARE for x in point]
    shapes: List[Any] = [[flat], RUNS, [SQUARE], [RUNS], [flat, flat[:4]], [], flat]
    annotations = [
        {"id": k, "image_id": k % 2, "category_id": 1 + k % 3, "iscrowd": int(k == 1),
         "bbox": [5, 5, 15, 15], "area": 225, "segmentation": shape}
        for k, shape in enumerate(shapes)
    ]  # fmt: skip
    images = [
        {"id": k, "file_name": name, "height": H, "width": W} for k, name in enumerate(IMAGES)
    ]
    categories = [
        {"id": 0, "name": "root", "supercategory": "none"},
        {"id": 1, "name": "car", "isthing": 1, "color": [1, 2, 3]},
        {"id": 2, "name": "road", "isthing": 0, "color": "#102030"},
        {"id": 3, "name": "tree", "supercategory": "root"},
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return {"c.json": json.dumps(content).encode()}


def labelme() -> Files:
    shapes: List[Any] = [
        {"label": "road", "points": SQUARE, "shape_type": "polygon", "group_id": None, "flags": {}},
        {"label": "car", "points": SQUARE[::2], "shape_type": "rectangle", "group_id": 3},
        {
            "label": 7,
            "points": SQUARE,
            "shape_type": "oriented_rectangle",
            "flags": {"iscrowd": True},
        },
        {"label": "car", "points": SQUARE[:2], "shape_type": "circle", "group_id": 3},
        {"label": "car", "points": SQUARE[::2], "shape_type": "mask", "mask": MASK},
        {"label": "wire", "points": SQUARE[:2], "shape_type": "line"},
    ]
    content = {"version": "5.8.0", "shapes": shapes, "imageHeight": H, "imageWidth": W}
    return {f"{n[0]}.json": json.dumps({**content, "imagePath": n}).encode() for n in IMAGES}


def cityscapes_polygons() -> Files:
    objects = [{"label": label, "polygon": SQUARE} for label in ("road", "car", "cargroup", "sky")]
    objects.append({"label": "car", "polygon": SQUARE[:2], "deleted": 1})
    content = {"imgHeight": H, "imgWidth": W, "objects": objects}
    return {f"{name[0]}_polygons.json": json.dumps(content).encode() for name in IMAGES}


def panoptic() -> Files:
    segments = [
        {
            "id": k,
            "category_id": 1 + k % 2,
            "iscrowd": int(k == 3),
            "area": 100,
            "bbox": [0, 0, 9, 9],
        }
        for k in (1, 2, 3)
    ]
    images = [
        {"id": k, "file_name": name, "height": H, "width": W} for k, name in enumerate(IMAGES)
    ]
    annotations = [
        {"image_id": k, "file_name": f"{n[0]}.png", "segments_info": segments}
        for k, n in enumerate(IMAGES)
    ]
    categories = [{"id": k, "name": f"c{k}", "isthing": k % 2, "color": [k, 2, 3]} for k in (1, 2)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    return {"panoptic.json": json.dumps(content).encode()}


CORNERS = "0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6"
YOLO = {
    "data.yaml": "path: .\ntrain: images/train\nval: [images/val]\nnc: 2\nnames: {0: car, 1: road}\n",
    "labels/train/a.txt": f"0 {CORNERS}\n1 0 0.5 1 0.5 1 1 0 1\n0 0.5 0.5 0.2 0.2\n",
    "labels/val/b.txt": f"1 {CORNERS}\n",
}
CVAT = {
    "annotations.xml": """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels><label><name>car</name><color>#00008e</color></label>
<label><name>road</name><color>#804080</color></label></labels></task></meta>
<image id="0" name="images/train/a.png" subset="Train" width="40" height="30">
<polygon label="car" points="1.50,2.00;9.00,2.00;9.00,8.50" z_order="1" group_id="3"></polygon>
<box label="car" xtl="4.00" ytl="5.00" xbr="16.00" ybr="9.00" rotation="30.0" z_order="0"></box>
<ellipse label="car" cx="15" cy="14" rx="8" ry="3" rotation="90" z_order="0"/>
<mask label="road" rle="1, 1, 1, 3" left="2" top="10" width="3" height="2" z_order="0"></mask>
<polyline label="road" points="1.0,1.0;2.0,2.0"/><tag label="car" source="manual"></tag></image>
<image id="1" name="images/val/b.png" subset="Validation" width="40" height="30"></image></annotations>
"""
}


def texts(files: Dict[str, str]) -> Files:
    return {name: text.encode() for name, text in files.items()}


def masks() -> Files:
    pixels = np.zeros((H, W, 3), dtype=np.uint8)
    pixels[5:15, 5:15, 0] = 128
    names = [f"{part}/{name}" for part in ("Class", "Object") for name in ("train/a", "val/b")]
    colors = b"# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:128,0,0::\n"
    return {"labelmap.txt": colors, **{f"Segmentation{name}.png": _png(pixels) for name in names}}


def by_command(
    run: Callable[[Path], int], count: Optional[Callable[[Files], int]], folder: Path, files: Files
) -> str:
    """See :class:`Case`, of a command.

    Args:
        run: (folder) -> exit status; prints what an import prints.
        count: (damaged files) -> annotations in them; None: nobody counts them.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run(folder)
    assert status in (0, 2, 3, 4), f"exit status {status}"
    if status == 2:
        assert "effps-solo import-dataset: " in err.getvalue(), "no message"
    if status:
        return "refused"
    return account(out.getvalue(), count(files) if count else None)


def account(output: str, expected: Optional[int]) -> str:
    """Whether annotations were left out; fails unless as many are drawn or counted as the files hold."""
    drawn, total = 0, 0
    for own, of in re.findall(r"images, (\d+) of (\d+) annotations", output):
        drawn, total = drawn + int(own), total + int(of)
    blocks = re.findall(r"left out: annotations\n((?:  +\d+  .*\n?)+)", output)
    left_out = sum(int(line.split()[0]) for block in blocks for line in block.splitlines())
    told = f"{expected} annotations in the files, told {drawn} drawn and {left_out} left out"
    assert total == (total if expected is None else expected) == drawn + left_out, told
    return "left out" if left_out else "drawn"


def importing(kind: str, folder: Path) -> int:
    """The command on all files of a folder."""
    where = ["--annotations", str(folder), "--output", str(folder.parent / "out")]
    return effps_solo(["import-dataset", "--from", kind, "--workers", "1", "--stuff", *where])


def checking(folder: Path) -> int:
    """Check a panoptic JSON, read it as training does, and repair it."""
    json_file, images = str(folder / "panoptic.json"), str(folder)
    checked = check_datasets([PanopticSource("s", images, images, json_file)])
    print(as_text(checked), json.dumps(as_dict(checked), default=str))
    files = CocoPanopticFiles(images, images, json_file, "mend it")
    with contextlib.suppress(UserError):
        repair_json(checked[0], str(folder.parent / "fixed.json"))
    with contextlib.suppress(UserError):
        metadata = coco_panoptic_metadata(files)
        kinds = [metadata[f"{kind}_dataset_id_to_contiguous_id"] for kind in ("thing", "stuff")]
        load_coco_panoptic(files, PanopticLabelSpace(*kinds, metadata["ignore_label"]))
    return exit_status(checked)


def by_reader(reader: ModuleType, folder: Path, files: Files) -> str:
    """See :class:`Case`, of a reader, image by image: the files of one without annotations are no loss."""
    try:
        export = reader.find(str(folder))
        classes = ClassList(map(as_entry, export.count_labels()), "")
        splits, _ = choose_splits(export.splits, export.images)
        left_out = False
        for item in (item for part in splits.values() for item in part):
            canvas = SegmentCanvas(*image_size(item.image))
            export.draw(item.annotation, classes, canvas)
            canvas.result()
            counts = canvas.counts
            assert counts.num_annotations == counts.num_drawn + counts.left_out.total()
            if reader is cvat:
                assert counts.num_annotations == len(item.annotation.shapes)
            if reader is yolo_seg and item.sources:
                lines = Path(item.sources[0]).read_text("utf-8-sig").split("\n")
                assert counts.num_annotations == sum(bool(line.strip()) for line in lines)
            left_out |= bool(counts.left_out)
        return "left out" if left_out else "drawn"
    except UserError as error:
        assert str(error)
        return "refused"


def entries(key: str, files: Files) -> int:
    """The length of a list in all files."""
    return sum(len(json.loads(data.decode("utf-8-sig"))[key]) for data in files.values())


def of_json(files: Callable[[], Files], kind: str, key: str) -> Case:
    return Case(files, partial(by_command, partial(importing, kind), partial(entries, key)))


CASES: Dict[str, Case] = {
    "coco-instances": of_json(coco, "coco-instances", "annotations"),
    "labelme": of_json(labelme, "labelme", "shapes"),
    "cityscapes-polygons": of_json(cityscapes_polygons, "cityscapes-polygons", "objects"),
    "panoptic": Case(panoptic, partial(by_command, checking, None)),
    "yolo-seg": Case(partial(texts, YOLO), partial(by_reader, yolo_seg), IN_SPLITS),
    "cvat": Case(partial(texts, CVAT), partial(by_reader, cvat), IN_SPLITS),
    "mask-pairs": Case(masks, partial(by_reader, mask_pairs), IN_SPLITS),
}

ODD: List[Any] = [
    None, True, False, 0, -1, 1, 7, 0.5, 1e9, -1e9, 1e308, float("nan"), float("inf"), 2**31, 2**63,
    10**30, "", " ", "x", "1", "-1", "nan", "1e400", "\0", "../../a.png", "a\\b.png", "\ud800", "ä" * 300,
    [], {}, [[]], [None], [{}], {"counts": "zzz~~~", "size": [H, W]}, {"counts": [10, 20], "size": [W, H]},
    [1, 2, 3], [[1e9, 0], [0, 1e9], [5, 5]], [-1] * 6, ["x"] * 6, [[[[[[1, 2]]]]]], list(range(50)),
]  # fmt: skip
NUMBERS = "nan inf -1 0 1e9 1e308 -1e308 99999999999999999999  x 1.5".split(" ")
WORDS = [*'\0\n <>&"\ud7ff\ufeff{[/', "&amp;", "- ", "*a", "../"]


def damage(name: str, data: bytes, rng: random.Random) -> bytes:
    """One to four random changes: of the tree of a JSON, or of bytes, numbers, words and lines."""
    if not name.endswith(".json") or rng.random() < 0.15:
        return _damage_bytes(data, rng)
    tree = json.loads(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        nodes = list(_nodes(tree))
        if nodes:
            _damage_node(*rng.choice(nodes), rng)
    mark = "\ufeff" if rng.random() < 0.05 else ""
    return (mark + json.dumps(tree, ensure_ascii=True)).encode()


def _nodes(tree: Any) -> Any:
    """(parent, key) of everything below the root."""
    if isinstance(tree, (dict, list)):
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from _nodes(tree[key])


def _damage_node(parent: Any, key: Any, rng: random.Random) -> None:
    value = parent[key]
    other = rng.choice(list(_nodes(parent)))
    changes: List[Callable[[], Any]] = [
        lambda: parent.__setitem__(key, rng.choice(ODD)),
        lambda: parent.__setitem__(key, rng.choice(ODD)),
        lambda: parent.__delitem__(key),
        lambda: parent.__setitem__(key, [value]),
        lambda: parent.__setitem__(key, str(value)),
        lambda: parent.__setitem__(key, json.loads(json.dumps(other[0][other[1]]))),
    ]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        changes += [lambda: parent.__setitem__(key, value * rng.choice([-1, 1.5, 1000, 1e7]))] * 3
    if isinstance(parent, list):
        changes += [lambda: parent.insert(key, json.loads(json.dumps(value)))] * 2
    rng.choice(changes)()


def _damage_bytes(data: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice([1, 1, 2, 5, 40]))
        numbers = list(re.finditer(rb"-?\d+(\.\d+)?", data))
        choice = rng.randrange(7)
        if choice == 0:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif choice == 1:
            data = data[:at] + data[end:]
        elif choice == 2:
            data = data[:end] + data[at:end] * rng.choice([1, 2, 300]) + data[end:]
        elif choice == 3:
            word = rng.choice(WORDS).encode("utf-8", "surrogatepass")
            data = data[:at] + word + data[at:]
        elif choice == 4:
            data = data[:at]
        elif numbers:
            match = rng.choice(numbers)
            data = data[: match.start()] + rng.choice(NUMBERS).encode() + data[match.end() :]
    return data


def attempt(case: Case, seed: Optional[int], root: Path) -> str:
    """The outcome of one seed in a folder of its own; None: without damage."""
    files, rng = case.files(), random.Random(seed)
    if seed is not None:
        name = rng.choice(sorted(files))
        files[name] = damage(name, files[name], rng)
    for path, data in files.items():
        (root / "in" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "in" / path).write_bytes(data)
    for image in case.images:
        (root / "in" / image).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (W, H)).save(root / "in" / image)
    return case.outcome(root / "in", files)


def main(name: str, first: int, count: int) -> int:
    """Try seeds; print those that went wrong, and at the end how many had which outcome, as JSON."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    outcomes: Counter[str] = Counter()
    for seed in [None, *range(first, first + count)]:
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        root = Path(tempfile.mkdtemp())
        try:
            outcomes[attempt(CASES[name], seed, root)] += 1
        except BaseException as error:
            outcomes["wrong"] += 1
            told = "".join(traceback.format_exception(error, limit=-6))
            print(f"{name}, seed {seed}: {told}", file=sys.stderr)
        shutil.rmtree(root)
    faulthandler.cancel_dump_traceback_later()
    print(json.dumps(outcomes))
    return int(outcomes["wrong"] > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
