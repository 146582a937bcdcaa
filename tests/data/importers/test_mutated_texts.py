"""Random mutations of valid files of YOLO, CVAT and mask pairs: refused in words, or all is accounted for."""

import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, List

import numpy as np
import pytest
from PIL import Image

from effps_solo.data.importers import cvat, mask_pairs, yolo_seg
from effps_solo.data.importers.canvas import SegmentCanvas
from effps_solo.data.importers.classes import ClassList, as_entry
from effps_solo.data.importers.files import image_size
from effps_solo.data.importers.splits import choose_splits
from effps_solo.utils.errors import UserError

MEMORY = 2 * 2**30  # bytes of address space
HANG = 60  # seconds
READERS = {"yolo": yolo_seg, "cvat": cvat, "masks": mask_pairs}
SIZE = (20, 30)
SQUARE = "0.1 0.2 0.5 0.2 0.5 0.6 0.1 0.6"
YOLO = {
    "data.yaml": "path: .\ntrain: images/train\nval: [images/val]\nnc: 2\nnames: {0: car, 1: road}\n",
    "labels/train/a.txt": f"0 {SQUARE}\n1 0 0.5 1 0.5 1 1 0 1\n0 0.5 0.5 0.2 0.2\n",
    "labels/val/b.txt": f"1 {SQUARE}\n",
}
CVAT = {
    "annotations.xml": """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels><label><name>car</name><color>#00008e</color></label>
<label><name>road</name><color>#804080</color></label></labels></task></meta>
<image id="0" name="images/train/a.png" subset="Train" width="30" height="20">
<polygon label="car" points="1.50,2.00;9.00,2.00;9.00,8.50" z_order="1" group_id="3"></polygon>
<box label="car" xtl="4.00" ytl="5.00" xbr="16.00" ybr="9.00" rotation="30.0" z_order="0"></box>
<ellipse label="car" cx="15" cy="14" rx="8" ry="3" rotation="90" z_order="0"/>
<mask label="road" rle="1, 1, 1, 3" left="2" top="10" width="3" height="2" z_order="0"></mask>
<polyline label="road" points="1.0,1.0;2.0,2.0"/><tag label="car" source="manual"></tag></image>
<image id="1" name="images/val/b.png" subset="Validation" width="30" height="20"></image></annotations>
"""
}
MASKS = {"labelmap.txt": "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:128,0,0::\n"}
NUMBERS = [
    "nan",
    "inf",
    "-1",
    "0",
    "1e9",
    "1e308",
    "-1e308",
    "99999999999999999999",
    "",
    "x",
    "1.5",
]
WORDS = [
    "\0",
    "\n",
    " ",
    "<",
    ">",
    "&",
    '"',
    "&amp;",
    "\ud7ff",
    "\ufeff",
    "- ",
    "{",
    "[",
    "*a",
    "../",
    "/",
]


def write(kind: str, folder: Path) -> Dict[str, bytes]:
    """A valid export; returns the files that are mutated."""
    for split, name in (("train", "a"), ("val", "b")):
        (folder / "images" / split).mkdir(parents=True)
        Image.new("RGB", SIZE[::-1]).save(folder / "images" / split / f"{name}.png")
    files = {"yolo": YOLO, "cvat": CVAT, "masks": MASKS}[kind]
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    names = list(files)
    if kind == "masks":
        mask = np.zeros((*SIZE, 3), dtype=np.uint8)
        mask[5:15, 5:15, 0] = 128
        for part in ("SegmentationClass", "SegmentationObject"):
            names += [f"{part}/train/a.png", f"{part}/val/b.png"]
            for name in names[-2:]:
                (folder / name).parent.mkdir(parents=True)
                Image.fromarray(mask).save(folder / name)
    return {name: (folder / name).read_bytes() for name in names}


def mutated(data: bytes, rng: random.Random) -> bytes:
    """With one to four changes: of bytes, numbers, words, or lines."""
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


def check(kind: str, folder: Path) -> str:
    """What became of an export: "refused", "drawn" or "left out". Fails where an annotation is lost."""
    try:
        export = READERS[kind].find(str(folder))
        classes = ClassList(map(as_entry, export.count_labels()), "")
        splits, _ = choose_splits(export.splits, export.images)
        left_out = False
        for item in (item for part in splits.values() for item in part):
            canvas = SegmentCanvas(*image_size(item.image))
            export.draw(item.annotation, classes, canvas)
            canvas.result()
            counts = canvas.counts
            assert counts.num_annotations == counts.num_drawn + counts.left_out.total()
            if kind == "cvat":
                assert counts.num_annotations == len(item.annotation.shapes)
            if kind == "yolo" and item.sources:
                lines = Path(item.sources[0]).read_text("utf-8-sig").split("\n")
                assert counts.num_annotations == sum(bool(line.strip()) for line in lines)
            left_out |= bool(counts.left_out)
        return "left out" if left_out else "drawn"
    except UserError as error:
        assert str(error)
        return "refused"


def run(kind: str, first: int, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    root = Path(tempfile.mkdtemp())
    files = write(kind, root)
    outcomes: List[str] = [check(kind, root)]
    for seed in range(first, first + count):
        rng = random.Random(seed)
        name = rng.choice(list(files))
        (root / name).write_bytes(mutated(files[name], rng))
        print(f"{kind} seed {seed}: {name}", file=sys.stderr)  # the last one is that which failed
        signal.alarm(HANG)
        outcomes.append(check(kind, root))
        signal.alarm(0)
        (root / name).write_bytes(files[name])
    shutil.rmtree(root)
    print({outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))})


def run_apart(kind: str, first: int, count: int) -> Dict[str, int]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.data.importers.test_mutated_texts"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    result = subprocess.run(
        [*command, kind, str(first), str(count)], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr[-3000:]
    found: Dict[str, int] = eval(result.stdout)
    return found


@pytest.mark.parametrize("kind", READERS)
def test_some_mutations(kind: str) -> None:
    found = run_apart(kind, 0, 40)
    assert sum(found.values()) == 41 and found["refused"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_two_thousand_mutations(kind: str) -> None:
    found = run_apart(kind, 1000, 2000)
    assert (
        sum(found.values()) == 2001
        and found["refused"]
        and sum(found.values()) - found["refused"] > 100
    )


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
