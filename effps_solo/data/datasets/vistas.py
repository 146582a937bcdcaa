"""Mapillary Vistas v1.2 and v2.0, from the panoptic JSON and PNGs of the download.

Only classes of our list stay, under our ids (see class_lists/); areas and boxes are measured anew. A PNG
that stays as it is becomes a hard link.
"""

import os
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

import numpy as np

from effps_solo.data.conversion import Job, convert_all
from effps_solo.data.importers.classes import ClassList
from effps_solo.data.importers.files import SourceError, read_rgb_ids
from effps_solo.data.importers.image_index import ImageIndex
from effps_solo.data.importers.run import Imported, summary, write_panoptic_json
from effps_solo.structures.panoptic_png import VOID, encode_segment_ids
from effps_solo.structures.segment_measures import measured_segments
from effps_solo.utils.atomic import write_atomically

from .family import Family, read_class_list, require_same_size
from .files import read_json_object

_SPLITS = {"train": "training", "val": "validation"}
_YEARS = {"v1.2": "2018", "v2.0": "2020"}  # in the name of the panoptic JSON
_FORMAT = "1"  # raised with every change that alters a PNG or its segments_info

Segments = List[Tuple[int, int, int]]  # id, category id of the download, iscrowd


def prepare(version: str, folder: Path, split: str, num_workers: int) -> Imported:
    """See ``Family.prepare``."""
    classes = read_class_list(f"vistas_{version}")
    target = folder / f"panoptic_{version}_{split}.json"
    target.unlink(missing_ok=True)
    native = _native_folder(folder / _SPLITS[split], version)
    source = str(native / f"panoptic_{_YEARS[version]}.json")
    content = read_json_object(source, ("annotations", "categories"))
    category_of = match_categories(content["categories"], classes, source)
    index = ImageIndex(str(folder / _SPLITS[split] / "images"))
    names, pngs, jobs = [], [], []
    for annotation in content["annotations"]:
        png = annotation["file_name"]
        image = index.find(Path(png).stem, str(native / png))
        names.append(os.path.relpath(image, index.folder))
        pngs.append(png)
        info = annotation["segments_info"]
        segments = [(s["id"], s["category_id"], int(s.get("iscrowd", 0))) for s in info]
        files = (image, str(native / png))
        jobs.append(Job(f"{target.stem}/{png}", files, (*files, segments)))
    results = convert_all(
        partial(_convert, category_of),
        jobs,
        journal=folder / f".{target.stem}.journal",
        settings=f"{_FORMAT} {category_of}",
        num_workers=num_workers,
        title=split,
    )
    write_panoptic_json(target, names, pngs, results, classes)
    return summary(classes, results)


def _native_folder(split_folder: Path, version: str) -> Path:
    """Where the panoptic files are: <split>/v1.2/panoptic, in older downloads <split>/panoptic."""
    folders = [split_folder / version / "panoptic"]
    folders += [split_folder / "panoptic"] * (version == "v1.2")
    for folder in folders:
        if (folder / f"panoptic_{_YEARS[version]}.json").is_file():
            return folder
    raise SourceError(
        f"'{folders[0]}' holds no panoptic_{_YEARS[version]}.json; get a download that has Vistas "
        f"{version}"
    )


def match_categories(
    categories: List[Dict[str, Any]], classes: ClassList, file: str
) -> Dict[int, int]:
    """Category id of the download -> our id, for the classes of our list.

    Raises:
        SourceError: the download lacks a class, or calls a thing stuff or the reverse.
    """
    found: Dict[int, int] = {}
    for category in categories:
        ours = classes.find(category.get("supercategory", "")) or classes.find(category["name"])
        if ours is None:
            continue
        if int(category["isthing"]) != ours["isthing"]:
            raise SourceError(f"{file}: category {category} has another isthing than {ours}")
        found[category["id"]] = ours["id"]
    if missing := [c["name"] for c in classes.categories if c["id"] not in found.values()]:
        raise SourceError(f"{file} lacks the categories {missing[:3]}; is it of another version?")
    return found


def _convert(
    category_of: Mapping[int, int], task: Tuple[str, str, Segments], output: Path
) -> Dict[str, Any]:
    image, png, segments = task
    ids = read_rgb_ids(png)
    size = require_same_size(ids, png, image)
    kept = {
        segment_id: {"category_id": category_of[category_id], "iscrowd": crowd}
        for segment_id, category_id, crowd in segments
        if category_id in category_of
    }
    drawn = set(np.unique(ids).tolist()) - {VOID}
    if unknown := drawn - {segment[0] for segment in segments}:
        raise SourceError(f"{png} holds the segment ids {sorted(unknown)[:5]} that its JSON lacks")
    if drawn <= set(kept):
        _link(Path(png), output)
    else:
        ids = np.where(np.isin(ids, list(kept)), ids, VOID)
        write_atomically(output, encode_segment_ids(ids))
    notes = {
        "segments of categories that are not evaluated: void": len(drawn - set(kept)),
        "segments without a pixel": len({segment[0] for segment in segments} - drawn),
    }
    notes = {note: count for note, count in notes.items() if count}
    return {**size, "segments_info": measured_segments(ids, kept), "notes": notes}


def _link(source: Path, output: Path) -> None:
    """Make ``output`` the same file as ``source``, or a copy where links are impossible."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.unlink(missing_ok=True)
    try:
        os.link(source, output)
    except OSError:
        write_atomically(output, source.read_bytes())


def _family(version: str) -> Family:
    return Family(
        name=f"vistas_{version}",
        title=f"Mapillary Vistas {version}",
        folder="mapillary_vistas",
        splits=_SPLITS,
        images="{native}/images",
        panoptic_png=f"panoptic_{version}_{{split}}",
        panoptic_json=f"panoptic_{version}_{{split}}.json",
        script="prepare_vistas.py",
        prepare=partial(prepare, version),
        options=f"--family vistas_{version}",
        classes=partial(read_class_list, f"vistas_{version}"),
    )


VISTAS = [_family(version) for version in _YEARS]
