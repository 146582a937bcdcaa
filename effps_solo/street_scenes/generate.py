"""Generates a whole set: several processes, resumable, done at once when it is there already."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from functools import partial
from pathlib import Path

import cv2
from tqdm import tqdm

from effps_solo.data.datasets.cityscapes_labels import write_panoptic
from effps_solo.utils.atomic import write_atomically

from .cityscapes_layout import MANIFEST, SPLITS, UNFINISHED, SetParameters, write_image

SMALLEST_HEIGHT, SMALLEST_WIDTH = 64, 128
CHUNK = 4


def generate(
    root: Path, parameters: SetParameters, num_workers: int = 1, overwrite: bool = False
) -> bool:
    """Makes the set below `root`; returns False when a finished identical set was there already.

    Image i of a split depends only on the seed, the split and i. A set that was interrupted is
    completed. Raises ValueError for impossible parameters, and FileExistsError when `root` holds
    another set and `overwrite` is false, or something that this function did not write.
    """
    _check(parameters, num_workers)
    wanted = parameters.as_manifest()
    if _read(root / MANIFEST) == wanted and not overwrite:
        return False
    _prepare(root, wanted, overwrite)
    _run(root, parameters, num_workers)
    write_atomically(root / MANIFEST, json.dumps(wanted, indent=2).encode())
    (root / UNFINISHED).unlink()
    return True


def _check(parameters: SetParameters, num_workers: int) -> None:
    if parameters.height < SMALLEST_HEIGHT or parameters.width < SMALLEST_WIDTH:
        raise ValueError(
            f"height and width are {parameters.height} and {parameters.width}; they must be at "
            f"least {SMALLEST_HEIGHT} and {SMALLEST_WIDTH}"
        )
    counts = {f"num_{split}": parameters.count(split) for split in SPLITS}
    for name, count in {**counts, "num_workers": num_workers}.items():
        if count < 1:
            raise ValueError(f"{name} is {count}; it must be at least 1")
    if parameters.seed < 0:
        raise ValueError(f"seed is {parameters.seed}; it must not be negative")


def _read(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not a JSON file ({error}); delete the folder {path.parent}")


def _prepare(root: Path, wanted: dict, overwrite: bool) -> None:
    """Makes `root` ready for writing and notes which set is being written there."""
    found = _read(root / UNFINISHED) or _read(root / MANIFEST)
    if found is None and root.is_dir() and any(root.iterdir()):
        raise FileExistsError(
            f"{root} is not empty and holds no set of street scenes ({MANIFEST} is missing); "
            "choose another --output"
        )
    if found is not None and found != wanted and not overwrite:
        raise FileExistsError(
            f"{root} holds a set made with {found}, not {wanted}; "
            "give --overwrite to replace it, or choose another --output"
        )
    if overwrite:
        for name in ("leftImg8bit", "gtFine"):
            shutil.rmtree(root / name, ignore_errors=True)
    root.mkdir(parents=True, exist_ok=True)
    write_atomically(root / UNFINISHED, json.dumps(wanted, indent=2).encode())
    (root / MANIFEST).unlink(missing_ok=True)


def _run(root: Path, parameters: SetParameters, num_workers: int) -> None:
    work = [
        (root, parameters, split, index)
        for split in SPLITS
        for index in range(parameters.count(split))
    ]
    show = partial(tqdm, total=len(work), desc="street scenes", unit="image")
    if num_workers == 1:
        for job in show(work):
            write_image(*job)
        for split in SPLITS:
            write_panoptic(root, split)
        return
    # Forked workers would hang: OpenCV's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with context.Pool(min(num_workers, len(work)), cv2.setNumThreads, (1,)) as pool:
        for _ in show(pool.imap_unordered(_draw, work, CHUNK)):
            pass
        pool.map(partial(write_panoptic, root), SPLITS)


def _draw(job: tuple[Path, SetParameters, str, int]) -> None:
    write_image(*job)
