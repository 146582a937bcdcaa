"""Random damage to valid annotation files: ``fuzz.py FORMAT FIRST COUNT`` tries seeds in one process.

No more than 2 GB and a minute for each, no exception that is no message, and of every import that succeeds
all annotations in the file are drawn or counted. A format is a line in CASES.
"""

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
from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Optional

MEMORY = 2 * 1024**3
SECONDS = 60

Files = Dict[str, str]  # path -> text


class Case(NamedTuple):
    """A format.

    Attributes:
        files: valid ones.
        run: (folder) -> exit status; prints what an import prints.
        count: (texts of the damaged files) -> annotations in them; None: nobody counts them.
    """

    files: Callable[[], Files]
    run: Callable[[Path], int]
    count: Optional[Callable[[Files], int]] = None


H, W = 30, 40
IMAGES = ("a.png", "b.png")
SQUARE = [[5, 5], [20, 5], [20, 20], [5, 20]]
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
    return {"c.json": json.dumps(content)}


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
        {"label": "car", "points": SQUARE[::2], "shape_type": "mask", "mask": _png()},
        {"label": "wire", "points": SQUARE[:2], "shape_type": "line"},
    ]
    content = {"version": "5.8.0", "shapes": shapes, "imageHeight": H, "imageWidth": W}
    return {f"{n[0]}.json": json.dumps({**content, "imagePath": n}) for n in IMAGES}


def cityscapes_polygons() -> Files:
    objects = [{"label": label, "polygon": SQUARE} for label in ("road", "car", "cargroup", "sky")]
    objects.append({"label": "car", "polygon": SQUARE[:2], "deleted": 1})
    content = {"imgHeight": H, "imgWidth": W, "objects": objects}
    return {f"{name[0]}_polygons.json": json.dumps(content) for name in IMAGES}


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
    return {"panoptic.json": json.dumps(content)}


def importing(kind: str, *words: str) -> Callable[[Path], int]:
    """The command on all files of a folder."""

    def run(folder: Path) -> int:
        from effps_solo.__main__ import main

        where = ["--annotations", str(folder), "--output", str(folder.parent / "out")]
        return main(["import-dataset", "--from", kind, "--workers", "1", *where, *words])

    return run


def checking(folder: Path) -> int:
    """Check a panoptic JSON, read it as training does, and repair it."""
    from effps_solo.data.checks.plan import PanopticSource
    from effps_solo.data.checks.repair import repair_json
    from effps_solo.data.checks.report import as_dict, as_text, exit_status
    from effps_solo.data.checks.run import check_datasets
    from effps_solo.data.datasets.coco_panoptic import (
        CocoPanopticFiles,
        coco_panoptic_metadata,
        load_coco_panoptic,
    )
    from effps_solo.structures.label_space import PanopticLabelSpace
    from effps_solo.utils.errors import UserError

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


def entries(*path: str) -> Callable[[Files], int]:
    """The length of a list in all files."""

    def count(files: Files) -> int:
        return sum(len(json.loads(text.removeprefix("\ufeff"))[path[0]]) for text in files.values())

    return count


CASES: Dict[str, Case] = {
    "coco-instances": Case(coco, importing("coco-instances", "--stuff"), entries("annotations")),
    "labelme": Case(labelme, importing("labelme", "--stuff"), entries("shapes")),
    "cityscapes-polygons": Case(
        cityscapes_polygons, importing("cityscapes-polygons", "--stuff"), entries("objects")
    ),
    "panoptic": Case(panoptic, checking),
}

ODD: List[Any] = [
    None, True, False, 0, -1, 1, 7, 0.5, 1e9, -1e9, 1e308, float("nan"), float("inf"), 2**31, 2**63,
    10**30, "", " ", "x", "1", "-1", "nan", "1e400", "\0", "../../a.png", "a\\b.png", "\ud800", "ä" * 300,
    [], {}, [[]], [None], [{}], {"counts": "zzz~~~", "size": [H, W]}, {"counts": [10, 20], "size": [W, H]},
    [1, 2, 3], [[1e9, 0], [0, 1e9], [5, 5]], [-1] * 6, ["x"] * 6, [[[[[[1, 2]]]]]], list(range(50)),
]  # fmt: skip


def damage(text: str, rng: random.Random) -> str:
    """One to three random changes of the tree, or of the letters."""
    if rng.random() < 0.15:
        return _damage_text(text, rng)
    tree = json.loads(text)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        nodes = list(_nodes(tree))
        if nodes:
            _damage_node(*rng.choice(nodes), rng)
    mark = "\ufeff" if rng.random() < 0.05 else ""
    return mark + json.dumps(tree, ensure_ascii=True)


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


def _damage_text(text: str, rng: random.Random) -> str:
    at, length = rng.randrange(len(text)), rng.randrange(1, 20)
    numbers = list(re.finditer(r"-?\d+\.?\d*", text))
    number = rng.choice(numbers) if numbers else None
    odd = str(rng.choice([v for v in ODD if isinstance(v, (int, float, str))]))
    changes = [
        text[:at],
        text[:at] + text[at + length :],
        text[:at] + odd + text[at:],
        text[:at] + text[at : at + length] * 2 + text[at + length :],
        text.replace("\n", "\r\n"),
    ]
    if number is not None:
        changes += [text[: number.start()] + odd + text[number.end() :]] * 3
    return rng.choice(changes)


def attempt(case: Case, seed: int, folder: Path) -> str:
    """What is wrong with the outcome; "": nothing."""
    rng = random.Random(seed)
    files = case.files()
    name = rng.choice(sorted(files))
    files[name] = damage(files[name], rng)
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text.encode("utf-8", "surrogatepass"))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = case.run(folder)
    if status not in (0, 2, 3, 4):
        return f"exit status {status}"
    if status == 2 and "effps-solo import-dataset: " not in err.getvalue():
        return "no message"
    if status == 0:
        return _losses(out.getvalue(), case.count(files) if case.count else None)
    return ""


def _losses(output: str, expected: Optional[int]) -> str:
    drawn, total = 0, 0
    for own, of in re.findall(r"images, (\d+) of (\d+) annotations", output):
        drawn, total = drawn + int(own), total + int(of)
    blocks = re.findall(r"left out: annotations\n((?:  +\d+  .*\n?)+)", output)
    left_out = sum(int(line.split()[0]) for block in blocks for line in block.splitlines())
    if total != (total if expected is None else expected) or drawn + left_out != total:
        return f"{expected} annotations in the files, told {drawn} drawn and {left_out} left out"
    return ""


def _png() -> str:
    import base64

    from PIL import Image

    data = io.BytesIO()
    Image.new("1", (10, 8), 1).save(data, format="PNG")
    return base64.b64encode(data.getvalue()).decode()


def main(name: str, first: int, count: int) -> int:
    """Try seeds; print those that went wrong."""
    from PIL import Image

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    wrong = 0
    for seed in range(first, first + count):
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        root = Path(tempfile.mkdtemp())
        (root / "in").mkdir()
        for image in IMAGES:
            Image.new("RGB", (W, H)).save(root / "in" / image)
        try:
            problem = attempt(CASES[name], seed, root / "in")
        except BaseException as error:
            import traceback

            problem = "".join(traceback.format_exception(error, limit=-6))
        if problem:
            wrong += 1
            print(f"{name}, seed {seed}: {problem}")
        shutil.rmtree(root)
    faulthandler.cancel_dump_traceback_later()
    print(f"{count} tried, {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
