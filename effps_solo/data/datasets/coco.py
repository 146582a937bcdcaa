"""COCO 2017 panoptic: the download is the layout; its PNGs come in archives of their own."""

import os
import zlib
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, List, Tuple
from zipfile import BadZipFile, ZipFile

from effps_solo.data.conversion import Job, convert_all
from effps_solo.data.importers.files import SourceError
from effps_solo.data.importers.run import Imported
from effps_solo.utils.atomic import write_atomically

from .family import Family
from .files import read_json_object, require_file


def prepare(folder: Path, split: str, num_workers: int) -> Imported:
    """See ``Family.prepare``: unpack the PNGs or link their folder, then see what is missing."""
    name = f"panoptic_{split}2017"
    source = folder / "annotations" / f"{name}.json"
    require_file(str(source), "panoptic JSON", "it is in panoptic_annotations_trainval2017.zip")
    content = read_json_object(str(source), ("images", "annotations", "categories"))
    if _missing(folder / name, content["annotations"]):
        if source.with_suffix("").is_dir() and not (folder / name).exists():
            (folder / name).symlink_to(os.path.join("annotations", name))
        elif (archive := source.with_suffix(".zip")).is_file():
            _unpack(archive, folder / name, num_workers)
    _require(folder / name, content["annotations"], source)
    _require(folder / f"{split}2017", content["images"], source)
    segments = Counter(s["category_id"] for a in content["annotations"] for s in a["segments_info"])
    counts = {category["name"]: segments[category["id"]] for category in content["categories"]}
    return Imported(len(content["images"]), counts, Counter())


def _unpack(archive: Path, target: Path, num_workers: int) -> None:
    """Unpack the PNGs of an archive into ``target``, without the folders inside it."""
    try:
        with ZipFile(archive) as content:
            names = content.namelist()
    except (BadZipFile, OSError) as error:
        raise SourceError(f"{archive} cannot be read ({error}); download it again") from error
    jobs = [
        Job(f"{target.name}/{Path(member).name}", (str(archive),), (str(archive), member))
        for member in names
        if member.endswith(".png") and not member.startswith("__MACOSX")
    ]
    convert_all(
        _extract,
        jobs,
        journal=target.parent / f".{target.name}.journal",
        settings="",
        num_workers=num_workers,
        title=target.name,
    )


def _extract(task: Tuple[str, str], output: Path) -> None:
    archive, member = task
    try:
        write_atomically(output, _open(archive).read(member))
    except (BadZipFile, zlib.error) as error:
        raise SourceError(f"{archive}: {member} is damaged ({error}); download it again") from error


_open = lru_cache(maxsize=1)(ZipFile)


def _missing(folder: Path, entries: List[Dict[str, Any]]) -> List[str]:
    present = set(os.listdir(folder)) if folder.is_dir() else set()
    return [entry["file_name"] for entry in entries if entry["file_name"] not in present]


def _require(folder: Path, entries: List[Dict[str, Any]], source: Path) -> None:
    if missing := _missing(folder, entries):
        raise SourceError(
            f"'{folder}' lacks {len(missing)} of the {len(entries)} files that {source} lists, among "
            f"them {missing[0]}; get the rest of the download"
        )


COCO = Family(
    name="coco",
    title="COCO 2017 panoptic",
    folder="coco",
    splits={"train": "train2017", "val": "val2017"},
    dataset="coco_2017_{split}_panoptic",
    images="{native}",
    panoptic_png="panoptic_{native}",
    panoptic_json="annotations/panoptic_{native}.json",
    script="prepare_coco.py",
    prepare=prepare,
    needs=("annotations",),
)
