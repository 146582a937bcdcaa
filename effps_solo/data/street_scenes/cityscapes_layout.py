"""Writes rendered scenes in the layout of Cityscapes.

Pictures and polygons are ours; label, instance and panoptic images are made from the polygons by
cityscapesscripts, so that whatever reads Cityscapes reads these scenes the same way. Its scripts
cannot write their images on current Pillow, hence only its pure functions are used.
"""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from cityscapesscripts.preparation.json2instanceImg import createInstanceImage
from cityscapesscripts.preparation.json2labelImg import createLabelImage

from ...atomic import write_atomically
from .render import Picture, render
from .scene import sample_scene

GENERATOR_VERSION = 1
"""Raised with every change that alters a picture or a label."""
MANIFEST = "street_scenes.json"
UNFINISHED = "street_scenes_unfinished.json"
CITIES = {"train": ("ashford", "brookfield", "carlow"), "val": ("dunmore", "eastham")}
SPLITS = tuple(CITIES)
IMAGE_SUFFIX = "leftImg8bit.png"
LABEL_SUFFIXES = (
    "gtFine_polygons.json",
    "gtFine_labelIds.png",
    "gtFine_labelTrainIds.png",
    "gtFine_instanceIds.png",
)


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
    contents = [_png(picture.rgb[..., ::-1]), polygons.encode(), *label_images(polygons)]
    for path, content in zip(files, contents):
        write_atomically(path, content)


def label_images(polygons: str) -> list[bytes]:
    """Returns the PNGs that LABEL_SUFFIXES names, made from the text of the polygon file."""
    annotation = Annotation()
    annotation.fromJsonText(polygons)
    labels = [np.array(createLabelImage(annotation, code)) for code in ("ids", "trainIds")]
    instances = np.array(createInstanceImage(annotation, "ids")).astype(np.uint16)
    return [*(_png(image.astype(np.uint8)) for image in labels), _png(instances)]


def polygon_record(picture: Picture) -> dict:
    """Returns the picture's objects in the format of Cityscapes' polygon files."""
    height, width = picture.rgb.shape[:2]
    objects = [
        {"label": label, "polygon": [list(point) for point in polygon]}
        for label, polygon in picture.objects
    ]
    return {"imgHeight": height, "imgWidth": width, "objects": objects}


def write_panoptic(root: Path, split: str) -> None:
    """Makes the panoptic images and their JSON where Detectron2's Cityscapes loader looks."""
    with contextlib.redirect_stdout(io.StringIO()):
        convert2panoptic(
            cityscapesPath=str(root / "gtFine"),
            outputFolder=str(root / "gtFine"),
            useTrainId=False,  # the loader maps the original ids itself
            setNames=[split],
        )


def _png(image: np.ndarray) -> bytes:
    done, data = cv2.imencode(".png", image)
    if not done:
        raise RuntimeError(f"OpenCV could not encode an image of shape {image.shape} as PNG")
    return data.tobytes()
