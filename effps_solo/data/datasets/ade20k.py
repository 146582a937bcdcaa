"""ADE20K panoptic: stuff of the scene parsing challenge, things of the instance segmentation challenge.

annotations/ holds grey PNGs, 0 for void, else class + 1. In annotations_instance/ the red channel
says which of the 100 things, from 1, and the green one tells objects apart, 0 for none. Things lie
over stuff, as Mask2Former merges the two; unlike there, areas are those that remain visible. A pixel
that only annotations/ calls a thing is void.
"""

from functools import partial
from pathlib import Path
from typing import List, Tuple

import numpy as np

from effps_solo.data.importers.canvas import SegmentCanvas
from effps_solo.data.importers.classes import ClassList
from effps_solo.data.importers.files import SourceError, files_below, read_pixels
from effps_solo.data.importers.image_index import ImageIndex
from effps_solo.data.importers.run import Imported, import_split
from effps_solo.data.importers.source import Item, Source

from .family import Family, read_class_list

_SPLITS = {"train": "training", "val": "validation"}
_GREEN = 256  # weight of the green channel in the key of an object

classes = partial(read_class_list, "ade20k")


def prepare(folder: Path, split: str, num_workers: int) -> Imported:
    """See ``Family.prepare``."""
    native = _SPLITS[split]
    index = ImageIndex(str(folder / "images" / native))
    items: List[Item] = []
    for semantic in files_below(str(folder / "annotations" / native), "*.png"):
        instances = folder / "annotations_instance" / native / semantic.name
        pair = (str(semantic), str(instances))
        items.append(Item(index.find(semantic.stem, str(semantic)), pair, pair))
    source = Source(index.folder, items, classes(), draw)
    return import_split(source, items, folder, split, num_workers)


def draw(paths: Tuple[str, str], classes: ClassList, canvas: SegmentCanvas) -> None:
    """See ``Source.draw``."""
    semantic, instances = _read(paths[0], "L", canvas), _read(paths[1], "RGB", canvas)
    categories, segment_of = classes.categories, {}
    for value in np.unique(semantic).tolist():
        if value > len(categories):
            raise SourceError(f"{paths[0]} holds {value}; there are {len(categories)} classes")
        if value and not categories[value - 1]["isthing"]:
            segment_of[value] = canvas.segment(categories[value - 1])
    canvas.label_map(semantic, segment_of)
    _draw_things(paths[1], instances[..., 0] + _GREEN * instances[..., 1], classes, canvas)


def _draw_things(path: str, keys: np.ndarray, classes: ClassList, canvas: SegmentCanvas) -> None:
    things = [category for category in classes.categories if category["isthing"]]
    segment_of = {}
    for key in np.unique(keys[keys >= _GREEN]).tolist():
        thing = key % _GREEN
        if not 0 < thing <= len(things):
            raise SourceError(f"{path} holds object {key // _GREEN} of class {thing}, not 1 .. 100")
        segment_of[key] = canvas.segment(things[thing - 1], instance=key)
    canvas.label_map(keys, segment_of)


def _read(path: str, mode: str, canvas: SegmentCanvas) -> np.ndarray:
    """(H, W) or (H, W, 3) int32 pixels of a PNG that must have the mode. Raises SourceError."""
    found, pixels = read_pixels(path, canvas)
    if found != mode:
        raise SourceError(f"{path} is a PNG of mode {found}, not {mode}")
    return pixels


ADE20K = Family(
    name="ade20k",
    title="ADE20K panoptic",
    folder="ADEChallengeData2016",
    splits=_SPLITS,
    images="images/{native}",
    script="prepare_ade20k.py",
    prepare=prepare,
    needs=("annotations/{native}", "annotations_instance/{native}"),
    classes=classes,
)
