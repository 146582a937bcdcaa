"""Writes rendered scenes in the layout of Cityscapes.

Pictures and polygons are ours; label, instance and panoptic images are made from the polygons as those
of Cityscapes are, so that whatever reads Cityscapes reads these scenes the same way.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from effps_solo.data.datasets.cityscapes_labels import (
    IMAGE_SUFFIX,
    LABEL_SUFFIXES,
    encode_png,
    label_images,
)
from effps_solo.utils.atomic import write_atomically

from .render import Picture, render
from .scene import sample_scene

GENERATOR_VERSION = 1
"""Raised with every change that alters a picture or a label."""
MANIFEST = "street_scenes.json"
UNFINISHED = "street_scenes_unfinished.json"
CITIES = {"train": ("ashford", "brookfield", "carlow"), "val": ("dunmore", "eastham")}
SPLITS = tuple(CITIES)


@dataclass(frozen=True)
class SetParameters:
    """All that decides on the bytes of a generated set."""

    num_train: int = 480
    num_val: int = 80
    height: int = 256
    width: int = 512
    seed: int = 0

    def count(self, split: str) -> int:
        """Returns the number of images of a split."""
        return self.num_train if split == "train" else self.num_val

    def as_manifest(self) -> dict:
        """Returns what the manifest file holds."""
        return {"generator_version": GENERATOR_VERSION, **asdict(self)}


def image_files(root: Path, split: str, index: int) -> list[Path]:
    """Returns the files of one image, picture first."""
    cities = CITIES[split]
    city = cities[index % len(cities)]
    stem = f"{city}_000000_{index:06d}"
    labels = [root / "gtFine" / split / city / f"{stem}_{suffix}" for suffix in LABEL_SUFFIXES]
    return [root / "leftImg8bit" / split / city / f"{stem}_{IMAGE_SUFFIX}", *labels]


def write_image(root: Path, parameters: SetParameters, split: str, index: int) -> None:
    """Renders one image and writes its files, unless all of them are there already.

    Each file appears at once and whole, so that an interrupted run leaves no half file behind.
    """
    files = image_files(root, split, index)
    if all(path.is_file() for path in files):
        return
    scene = sample_scene(parameters.seed, split, index, parameters.height, parameters.width)
    picture = render(scene)
    polygons = json.dumps(polygon_record(picture))
    contents = [encode_png(picture.rgb[..., ::-1]), polygons.encode(), *label_images(polygons)]
    for path, content in zip(files, contents):
        write_atomically(path, content)


def polygon_record(picture: Picture) -> dict:
    """Returns the picture's objects in the format of Cityscapes' polygon files."""
    height, width = picture.rgb.shape[:2]
    objects = [{"label": label, "polygon": polygon} for label, polygon in picture.objects]
    return {"imgHeight": height, "imgWidth": width, "objects": objects}
