"""Images of a report: the photograph, both segmentations, and TP, FP and FN segments."""

import base64
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import cv2
import numpy as np

from effps_solo.evaluation.record import EvaluatedImage
from effps_solo.evaluation.verdicts import Verdicts
from effps_solo.structures.classes import PanopticClass
from effps_solo.structures.panoptic_png import read_segment_ids
from effps_solo.utils.image_io import ImageError
from effps_solo.visualization.overlay import panoptic_overlay

MAX_SIZE = 720  # pixels of the longer side of a picture in the report
_JPEG_QUALITY = 82

HIT, MISS, FALSE, WRONG_CLASS = range(4)
# As classes of an overlay; the page's legend shows the same colours.
VERDICTS: Tuple[PanopticClass, ...] = (
    PanopticClass("found", False, HIT, (60, 150, 80)),
    PanopticClass("missed", False, MISS, (215, 45, 45)),
    PanopticClass("false", False, FALSE, (250, 165, 30)),
    PanopticClass("of another class", False, WRONG_CLASS, (170, 70, 200)),
)


def picture_of_truth(
    pixels: np.ndarray, image: EvaluatedImage, classes: Sequence[PanopticClass]
) -> np.ndarray:
    """The ground truth over (H, W, 3) uint8 RGB ``pixels``, at most ``MAX_SIZE`` pixels long.

    ImageError when the PNG cannot be read or has another size.
    """
    ids = _read_ids(image.truth_file, image, pixels)
    return _overlay(pixels, ids, image.segments.truth, classes)


def picture_of_prediction(
    pixels: np.ndarray, image: EvaluatedImage, folder: Path, classes: Sequence[PanopticClass]
) -> np.ndarray:
    """The prediction, a PNG in ``folder``, in the same way."""
    ids = _read_ids(str(folder / image.prediction_file), image, pixels)
    return _overlay(pixels, ids, image.segments.predictions, classes)


def picture_of_verdicts(pixels: np.ndarray, image: EvaluatedImage, folder: Path) -> np.ndarray:
    """True positives, false positives and false negatives, in the colours of ``VERDICTS``.

    Missed segments lie over found ones, false ones over both, so that every fault is seen. Where nothing
    is judged the photograph keeps its colours.
    """
    verdicts = Verdicts(image.segments)
    found = dict.fromkeys(verdicts.correct, HIT)
    missed = dict.fromkeys(verdicts.missed - set(verdicts.partner), MISS)
    faults = dict.fromkeys(verdicts.false, FALSE)
    faults.update(dict.fromkeys(verdicts.wrong_class, WRONG_CLASS))
    predicted_ids = _read_ids(str(folder / image.prediction_file), image, pixels)
    true_ids = _read_ids(image.truth_file, image, pixels)
    canvas = np.zeros_like(predicted_ids)
    info: List[Dict[str, Any]] = []  # of the segments of the picture
    for ids, verdict_of_id in ((predicted_ids, found), (true_ids, missed), (predicted_ids, faults)):
        rows = {key: row for row, key in enumerate(verdict_of_id, len(info) + 1)}
        layer = _looked_up(ids, rows)
        canvas = np.where(layer > 0, layer, canvas)
        for key, verdict in verdict_of_id.items():
            info.append({"id": rows[key], "category_id": verdict, "isthing": False})
    return panoptic_overlay(pixels, canvas, info, VERDICTS, max_size=MAX_SIZE, opacity=0.6)


def _read_ids(file_name: str, image: EvaluatedImage, pixels: np.ndarray) -> np.ndarray:
    """ImageError, too, when the image was changed after the evaluation and has another size."""
    ids = read_segment_ids(file_name)
    if pixels.shape[:2] != ids.shape:
        sizes = ["x".join(map(str, shape)) for shape in (pixels.shape[:2], ids.shape)]
        raise ImageError(f"{image.image_file} has {sizes[0]} pixels, its segments {sizes[1]}")
    return ids


def _looked_up(ids: np.ndarray, table: Mapping[int, int]) -> np.ndarray:
    """``ids`` replaced by their values; 0 for those that ``table`` lacks."""
    keys, inverse = np.unique(ids, return_inverse=True)
    values = np.array([table.get(key, 0) for key in keys.tolist()], dtype=np.int32)
    return values[inverse].reshape(ids.shape)


def _overlay(
    pixels: np.ndarray, ids: np.ndarray, segments: Sequence[Any], classes: Sequence[PanopticClass]
) -> np.ndarray:
    index = {c.dataset_id: k for k, c in enumerate(classes)}
    info = []
    for s in segments:
        k = index[s.category_id]
        info.append({"id": s.id, "category_id": k, "isthing": classes[k].isthing})
    return panoptic_overlay(pixels, ids, info, classes, max_size=MAX_SIZE)


def data_url(pixels: np.ndarray) -> str:
    """A JPEG of (H, W, 3) uint8 RGB inside a URL, at most ``MAX_SIZE`` pixels long."""
    height, width = pixels.shape[:2]
    scale = min(1.0, MAX_SIZE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    bgr = cv2.cvtColor(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
