"""How hard a generated set is, measured from its files alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from cityscapesscripts.helpers.labels import labels

from .cityscapes_layout import SetParameters, image_files
from .layers import draw_mask

THING_IDS = {
    label.name: label.id for label in labels if label.hasInstances and not label.ignoreInEval
}
"""Original Cityscapes ids of the classes whose objects are told apart."""
SMALL_AREA, TINY_AREA = 32 * 32, 16 * 16
HIDDEN_SHARE = 0.9
"""An object of which less is visible counts as partly hidden."""


@dataclass(frozen=True)
class Thing:
    """One object: class name, visible and unhidden area (px), sides of its visible box (px)."""

    label: str
    area: int
    full_area: int
    width: int
    height: int


@dataclass(frozen=True)
class ImageFigures:
    """What was counted in one image."""

    things: list[Thing]
    classes: set[int]  # train ids that occur
    void_share: float
    group_pixels: int


def measure_image(root: Path, split: str, index: int) -> ImageFigures:
    """Counts one image of a generated set."""
    _, polygons, _, train_ids, instance_ids = image_files(root, split, index)
    record = json.loads(polygons.read_text())
    instances, classes = _read(instance_ids), _read(train_ids)
    height, width = classes.shape
    counts = dict.fromkeys(THING_IDS, 0)
    things = []
    for entry in record["objects"]:
        label = entry["label"]
        if label not in THING_IDS:
            continue
        visible = instances == THING_IDS[label] * 1000 + counts[label]
        counts[label] += 1
        full = draw_mask([tuple(point) for point in entry["polygon"]], width, height)
        columns, rows = np.flatnonzero(visible.any(axis=0)), np.flatnonzero(visible.any(axis=1))
        if len(columns) == 0:
            continue
        sides = int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1
        things.append(Thing(label, int(visible.sum()), int(full.sum()), *sides))
    groups = int(np.isin(instances, list(THING_IDS.values())).sum())
    occurring = set(np.unique(classes).tolist()) - {255}
    return ImageFigures(things, occurring, float((classes == 255).mean()), groups)


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise FileNotFoundError(f"{path} is missing or no image; generate the set again")
    return np.asarray(image)


def measure(root: Path, split: str, parameters: SetParameters, limit: int = 80) -> dict[str, float]:
    """Returns the figures of the first `limit` images of a split; shares are between 0 and 1."""
    number = min(limit, parameters.count(split))
    return summarise([measure_image(root, split, index) for index in range(number)])


def summarise(images: list[ImageFigures]) -> dict[str, float]:
    """Returns the figures of measured images; all are 0 when there is none."""
    things = [thing for image in images for thing in image.things]
    count, number = max(len(things), 1), max(len(images), 1)
    thing_pixels = sum(thing.area for thing in things)
    group_pixels = sum(image.group_pixels for image in images)
    figures = {
        "images": float(len(images)),
        "things per image": len(things) / number,
        "things below 32x32 px": sum(t.area < SMALL_AREA for t in things) / count,
        "things below 16x16 px": sum(t.area < TINY_AREA for t in things) / count,
        "things partly hidden": sum(t.area < HIDDEN_SHARE * t.full_area for t in things) / count,
        "void pixels": sum(image.void_share for image in images) / number,
        "thing pixels in groups": group_pixels / max(thing_pixels + group_pixels, 1),
        "images without things": sum(not image.things for image in images) / number,
        "smallest longer side, px": float(min((max(t.width, t.height) for t in things), default=0)),
    }
    for label in THING_IDS:
        figures[f"{label} per image"] = sum(t.label == label for t in things) / number
    return figures
