"""KITTI panoptic, published with EfficientPS: classes of Cityscapes, frames of KITTI.

A PNG of the download holds Cityscapes' instance ids as R + 256 G + 65536 B.
"""

from pathlib import Path
from typing import Any

import numpy as np

from effps_solo.data.importers.canvas import SegmentCanvas
from effps_solo.data.importers.classes import ClassList
from effps_solo.data.importers.files import files_below, read_rgb_ids, require_size
from effps_solo.data.importers.image_index import ImageIndex
from effps_solo.data.importers.run import Imported, import_split
from effps_solo.data.importers.source import Item, Source

from .cityscapes import cityscapes_classes, split_instance_id
from .family import Family

_SPLITS = {"train": "training", "val": "validation"}


def prepare(folder: Path, split: str, num_workers: int) -> Imported:
    """See ``Family.prepare``."""
    native = folder / _SPLITS[split]
    index = ImageIndex(str(native / "images"))
    items = [
        Item(index.find(path.stem, str(path)), (str(path),), str(path))
        for path in files_below(str(native / "annotations"), "*.png")
    ]
    source = Source(index.folder, items, cityscapes_classes(), draw)
    return import_split(source, items, folder, split, num_workers)


def draw(path: str, classes: ClassList, canvas: SegmentCanvas) -> None:
    """See ``Source.draw``."""
    ids = read_rgb_ids(path)
    require_size(canvas, ids.shape[0], ids.shape[1], path)
    segment_of = {}
    for value in np.unique(ids).tolist():
        label, is_object = split_instance_id(value)
        category: Any = classes.find(label)
        if category is not None:
            segment_of[value] = canvas.segment(category, instance=value, crowd=not is_object)
        elif label:
            canvas.notes[f"label id {label}, which is not evaluated: void"] += 1
    canvas.label_map(ids, segment_of)


KITTI = Family(
    name="kitti",
    title="KITTI panoptic (EfficientPS)",
    folder="kitti_panoptic",
    splits=_SPLITS,
    images="{native}/images",
    script="prepare_kitti.py",
    prepare=prepare,
    needs=("{native}/annotations",),
    classes=cityscapes_classes,
)
