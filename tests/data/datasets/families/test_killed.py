"""A preparation that is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List

import numpy as np
import pytest
from PIL import Image

from effps_solo.data.datasets.prepare import main
from effps_solo.structures.panoptic_png import ids_to_rgb, read_segment_ids


def write_many(folder: Path, number: int) -> None:
    """A KITTI split of many equal images."""
    for name in ("images", "annotations"):
        (folder / "training" / name).mkdir(parents=True)
    first = folder / "training" / "images" / "0.png"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(first)
    ids = np.full((64, 64), 7)
    ids[10:30, 10:30] = 26001
    Image.fromarray(ids_to_rgb(ids)).save(folder / "training" / "annotations" / "0.png")
    for k in range(1, number):
        for name in ("images", "annotations"):
            source = folder / "training" / name / "0.png"
            os.link(source, folder / "training" / name / f"{k}.png")


def descendants(pid: int) -> List[int]:
    """The processes that a process started, and theirs; Linux only."""
    parents: Dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_half_done(
    clean_catalogs: None, tmp_path: Path, project_root: Path
) -> None:
    folder, number = tmp_path / "kitti_panoptic", 2000
    write_many(folder, number)
    script = project_root / "datasets" / "prepare_kitti.py"
    words = ["--root", str(tmp_path), "--splits", "train", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, str(script), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    journal = folder / ".panoptic_train.journal"
    try:
        deadline = time.time() + 120
        while not (journal.is_file() and journal.read_bytes().count(b"\n") >= 50):
            assert process.poll() is None and time.time() < deadline
            time.sleep(0.01)
        workers = descendants(process.pid)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert len(workers) >= 2
    while any(Path(f"/proc/{pid}").exists() for pid in workers):  # none waits for ever
        assert time.time() < deadline
        time.sleep(0.05)
    made = list((folder / "panoptic_train").glob("*.png"))
    assert 50 <= len(made) < number
    assert not (folder / "panoptic_train.json").exists()
    assert all(read_segment_ids(str(path)).shape == (64, 64) for path in made)
    finished = [json.loads(line)["output"] for line in journal.read_text().splitlines()[:50]]
    stamps = {name: (folder / name).stat().st_mtime_ns for name in finished}

    assert main(["kitti"], words[:-1] + ["1"]) == 0
    assert len(json.loads((folder / "panoptic_train.json").read_text())["images"]) == number
    assert {name: (folder / name).stat().st_mtime_ns for name in finished} == stamps
    names = {path.name for path in (folder / "panoptic_train").iterdir()}
    assert names == {f"{k}.png" for k in range(number)}
