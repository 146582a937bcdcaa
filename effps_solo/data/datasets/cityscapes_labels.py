"""Label, instance and panoptic images of Cityscapes from its polygons, made by cityscapesscripts.

Its scripts cannot write their images on current Pillow, hence only its pure functions are used.
"""

import contextlib
import io
from pathlib import Path
from typing import List

import cv2
import numpy as np
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from cityscapesscripts.preparation.json2instanceImg import createInstanceImage
from cityscapesscripts.preparation.json2labelImg import createLabelImage

IMAGE_SUFFIX = "leftImg8bit.png"
LABEL_SUFFIXES = (
    "gtFine_polygons.json",
    "gtFine_labelIds.png",
    "gtFine_labelTrainIds.png",
    "gtFine_instanceIds.png",
)


def label_images(polygons: str) -> List[bytes]:
    """Returns the PNGs that LABEL_SUFFIXES names, made from the text of the polygon file."""
    annotation = Annotation()
    annotation.fromJsonText(polygons)
    labels = [np.array(createLabelImage(annotation, code)) for code in ("ids", "trainIds")]
    instances = np.array(createInstanceImage(annotation, "ids")).astype(np.uint16)
    return [*(encode_png(image.astype(np.uint8)) for image in labels), encode_png(instances)]


def write_panoptic(root: Path, split: str) -> None:
    """Makes the panoptic images and their JSON where Detectron2's Cityscapes loader looks."""
    with contextlib.redirect_stdout(io.StringIO()):
        convert2panoptic(
            cityscapesPath=str(root / "gtFine"),
            outputFolder=str(root / "gtFine"),
            useTrainId=False,  # the loader maps the original ids itself
            setNames=[split],
        )


def encode_png(image: np.ndarray) -> bytes:
    """The bytes of a PNG, of (H, W) or (H, W, 3) BGR."""
    done, data = cv2.imencode(".png", image)
    if not done:
        raise RuntimeError(f"OpenCV could not encode an image of shape {image.shape} as PNG")
    return data.tobytes()
