"""A published data set: its names, where its files lie, how its panoptic annotations are made."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Callable, Dict, Mapping, Optional, Tuple

import numpy as np

from effps_solo.data.importers.classes import ClassList, read_entries
from effps_solo.data.importers.files import SourceError, image_size
from effps_solo.data.importers.run import Imported

from .coco_panoptic import CocoPanopticFiles
from .files import data_root


@dataclass(frozen=True)
class Family:
    """A published data set in a folder of the data root.

    Attributes:
        name: its key in FAMILIES.
        title: for people.
        folder: where the download lies below the data root.
        splits: split -> what the download calls it.
        images: their folder below that one; {split} stands for the split, {native} for what the
            download calls it.
        script: below datasets/, runs ``prepare``.
        prepare: (folder, split, number of processes) -> what it made; goes on where it was stopped.
            Raises UserError.
        panoptic_png, panoptic_json: paths of the same kind, which ``prepare`` makes.
        dataset: name in Detectron2's catalogs; {name} stands for ``name``.
        options: that the script needs for this family.
        needs: folders of the same kind that the download must have besides the images.
        classes: in the order of their contiguous ids; None: Detectron2 registers the data set.
    """

    name: str
    title: str
    folder: str
    splits: Mapping[str, str]
    images: str
    script: str
    prepare: Callable[[Path, str, int], Imported]
    panoptic_png: str = "panoptic_{split}"
    panoptic_json: str = "panoptic_{split}.json"
    dataset: str = "{name}_panoptic_{split}"
    options: str = ""
    needs: Tuple[str, ...] = ()
    classes: Optional[Callable[[], ClassList]] = None

    def dataset_name(self, split: str) -> str:
        """The name of a split in Detectron2's catalogs."""
        return self.dataset.format(name=self.name, split=split)

    @property
    def remedy(self) -> str:
        """What to do when files are missing, as the end of a message."""
        command = f"python datasets/{self.script} {self.options}".strip()
        return (
            f"make it with `{command}`, or set DETECTRON2_DATASETS to the folder "
            f"that holds {self.folder}/; datasets/README.md says more"
        )

    def files(self, split: str, root: str = "") -> CocoPanopticFiles:
        """Where a split lies below the data root ``root`` ("": the one in use); nothing is read."""
        templates = (self.images, self.panoptic_png, self.panoptic_json)
        images, png, json = (self.path(root or data_root(), t, split) for t in templates)
        return CocoPanopticFiles(images, png, json, self.remedy)

    def path(self, root: str, template: str, split: str) -> str:
        """One of the paths of a split below the data root ``root``."""
        name = template.format(split=split, native=self.splits[split])
        return os.path.join(root, self.folder, name)


def require_same_size(ids: np.ndarray, png: str, image: str) -> Dict[str, int]:
    """{height, width} of an image file, which must be those of the (H, W) ids of its PNG.

    Raises SourceError where they differ.
    """
    height, width = image_size(image)
    if ids.shape != (height, width):
        raise SourceError(
            f"{png} has {ids.shape[1]}x{ids.shape[0]} pixels, its image {image} {width}x{height}"
        )
    return {"height": height, "width": width}


def class_list_file(name: str) -> Path:
    """The file of a class list; it says where the list comes from."""
    return Path(__file__).parent / "class_lists" / f"{name}.yaml"


@lru_cache(maxsize=None)
def read_class_list(name: str) -> ClassList:
    """The class list in :func:`class_list_file`."""
    path = str(class_list_file(name))
    return ClassList(read_entries(path), path)
