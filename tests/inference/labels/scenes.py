"""A scene with all that is awkward about segments, and how well segments agree."""

from pathlib import Path
from typing import Any, Dict, NamedTuple, Tuple

import numpy as np

from effps_solo.structures.classes import PanopticClass

CLASSES = (
    PanopticClass("car", True, 26, (0, 0, 142)),
    PanopticClass('"road" & <kerb>', False, 7, (128, 64, 128)),
    PanopticClass("sky", False, 23, (70, 130, 180)),
)
CAR, ROAD, SKY = range(3)
HEIGHT, WIDTH = 90, 120
CLASS_OF_ID = {1: SKY, 2: ROAD, 3: CAR, 4: CAR, 5: CAR, 6: CAR, 300: CAR}


class Scene(NamedTuple):
    ids: np.ndarray
    entry: Dict[str, Any]
    image: Path


def scene_ids() -> np.ndarray:
    """(H, W): void at the lower border, sky and road around cars, and in the hole of one of them."""
    ids = np.zeros((HEIGHT, WIDTH), dtype=np.int32)
    y, x = np.indices(ids.shape)
    horizon = 30 + 5 * np.sin(x / 9)
    ids[y < horizon] = 1
    ids[(y >= horizon) & (y < 86)] = 2
    ids[disc(22, 45, 20)] = 3  # a ring at the left border ...
    ids[disc(22, 45, 14)] = 2
    ids[disc(22, 45, 8)] = 4  # ... with an island in its hole
    ids[disc(22, 45, 3)] = 1  # and sky in the island
    ids[disc(85, 50, 16)] = 5
    ids[:, 88:92] = 2  # in two parts, behind a pole of road
    ids[60:63, 60:63] = 6
    ids[63:66, 63:66] = 6  # parts that touch with a corner
    ids[HEIGHT - 1, WIDTH - 1] = 300  # one pixel
    return ids


def disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.indices((HEIGHT, WIDTH))
    mask: np.ndarray = np.hypot(columns - x, rows - y) <= radius
    return mask


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def best_match(mask: np.ndarray, ids: np.ndarray) -> Tuple[int, float]:
    """The id that most pixels of a mask have, and the IoU of mask and segment."""
    found, counts = np.unique(ids[mask], return_counts=True)
    best = int(found[counts.argmax()])
    return best, iou(mask, ids == best)
