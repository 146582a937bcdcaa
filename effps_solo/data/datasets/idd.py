"""IDD, the India Driving Dataset: polygons in the format of Cityscapes, 26 classes of level 3.

The benchmark's own tool draws instances and evaluates at 1280x720; here annotations keep the size of
their images.
"""

from functools import partial
from pathlib import Path

from effps_solo.data.importers import cityscapes_polygons
from effps_solo.data.importers.run import Imported, import_split

from .family import Family, read_class_list

classes = partial(read_class_list, "idd")


def prepare(folder: Path, split: str, num_workers: int) -> Imported:
    """See ``Family.prepare``."""
    source = cityscapes_polygons.source(
        str(folder / "gtFine" / split), str(folder / "leftImg8bit" / split), classes()
    )
    return import_split(source, source.items, folder, split, num_workers)


IDD = Family(
    name="idd",
    title="IDD",
    folder="IDD_Segmentation",
    splits={"train": "train", "val": "val"},
    images="leftImg8bit/{split}",
    script="prepare_idd.py",
    prepare=prepare,
    needs=("gtFine/{split}",),
    classes=classes,
)
