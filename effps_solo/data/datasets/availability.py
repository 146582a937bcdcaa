"""Checks that the files of a registered data set exist; Detectron2's loaders end in an assertion."""

from detectron2.data import DatasetCatalog, MetadataCatalog

from .families import family_of
from .files import DatasetError, require_file, require_folder
from .registration import near_names
from .street_scenes import NAMES, REMEDY

_REMEDY = (
    "set DETECTRON2_DATASETS or DATASETS.PANOPTIC.ROOT to where the data lie, or mend the paths in "
    "the description"
)


def check_dataset_available(name: str) -> None:
    """Check that the folders and files of a registered panoptic data set exist; reads none.

    Raises:
        DatasetError: the name is not registered, or something is missing; says what to do.
    """
    if name not in DatasetCatalog:
        raise DatasetError(f"data set '{name}' is not registered{near_names(name)}")
    metadata = MetadataCatalog.get(name)
    remedy = _REMEDY
    published = family_of(name)
    if name in NAMES.values():
        remedy = REMEDY
    elif published is not None:
        remedy = published[0].remedy
    what = f"data set '{name}':"
    for key, description in (
        ("image_root", "image folder"),
        ("gt_dir", "label folder"),
        ("panoptic_root", "folder of panoptic PNGs"),
    ):
        if metadata.get(key):
            require_folder(metadata.get(key), f"{what} {description}", remedy)
    if metadata.get("panoptic_json"):
        require_file(metadata.panoptic_json, f"{what} panoptic JSON", remedy)
    if name.startswith("cityscapes_fine_panoptic") and "." in metadata.image_root:
        raise DatasetError(
            f"{what} Detectron2's Cityscapes loader cannot read paths with a dot, such as "
            f"'{metadata.image_root}'; move or link the data"
        )
