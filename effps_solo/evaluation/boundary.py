"""Boundary IoU and the matches of Boundary PQ (Cheng et al., CVPR 2021).

Boundary IoU is the IoU of two bands: the pixels of each mask that lie within some distance of its contour.
Boundary PQ is PQ with min(mask IoU, Boundary IoU) in place of the mask IoU.
"""

from dataclasses import replace
from typing import Dict, Sequence, Tuple

import cv2
import numpy as np

from effps_solo.structures.classes import PanopticClass
from effps_solo.structures.panoptic_png import VOID
from effps_solo.structures.segment_measures import measure_segments

from .matching import MIN_IOU, ImageSegments, Pair
from .quality import Scores, class_scores
from .verdicts import count_classes


def band_width(height: int, width: int, ratio: float) -> int:
    """The width of the band in whole pixels, at least 1: a share ``ratio`` of the image's diagonal."""
    return max(1, round(ratio * float(np.hypot(height, width))))


def boundary(mask: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a mask from which one outside is at most ``width`` steps away, diagonal ones too.

    Args:
        mask: (H, W) bool; what is beyond the image is outside of it.

    Returns:
        (H, W) bool.
    """
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    inner = cv2.erode(mask.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return mask & (inner == 0)


def add_boundary_ious(
    segments: ImageSegments, true_ids: np.ndarray, predicted_ids: np.ndarray, ratio: float
) -> ImageSegments:
    """The segments of an image with the Boundary IoU of each pair.

    As for the mask IoU, void belongs to no prediction: what a prediction covers of it has no contour.

    Args:
        segments: of :func:`.matching.match_segments` for the two maps.
        true_ids, predicted_ids: (H, W) segment ids, 0 is void.
        ratio: see :func:`band_width`.
    """
    width = band_width(true_ids.shape[0], true_ids.shape[1], ratio)
    judged = np.where(true_ids == VOID, VOID, predicted_ids)
    boxes = [
        {key: box for key, _, box in measure_segments(ids).rows()} for ids in (true_ids, judged)
    ]
    pairs = []
    for pair in segments.pairs:
        window = _union(boxes[0][pair.truth], boxes[1][pair.prediction])
        truth = boundary(true_ids[window] == pair.truth, width)
        prediction = boundary(judged[window] == pair.prediction, width)
        iou = np.count_nonzero(truth & prediction) / np.count_nonzero(truth | prediction)
        pairs.append(replace(pair, boundary_iou=float(iou)))
    return replace(segments, pairs=tuple(pairs))


def boundary_scores(
    images: Sequence[ImageSegments], classes: Sequence[PanopticClass]
) -> Dict[int, Scores]:
    """Dataset id of each class -> its scores in percent; nan where it does not occur.

    "boundary_pq" is Boundary PQ; "boundary_iou" the mean Boundary IoU of PQ's true positives, 0 without
    any: how sharp what was found is, whatever was missed.

    Args:
        images: of :func:`add_boundary_ious`.
    """
    matched = count_classes(map(_boundary_matches, images), classes)
    found = count_classes(map(_by_boundary_alone, images), classes)
    return {
        key: {
            "boundary_pq": class_scores(matched[key])["pq"],
            "boundary_iou": class_scores(found[key])["sq"],
        }
        for key in matched
    }


def _boundary_matches(segments: ImageSegments) -> ImageSegments:
    """What counts PQ counts Boundary PQ in them."""
    pairs = [replace(p, iou=min(p.iou, _known(p))) for p in segments.pairs]
    return replace(segments, pairs=tuple(p for p in pairs if p.iou > MIN_IOU))


def _by_boundary_alone(segments: ImageSegments) -> ImageSegments:
    """All matches of PQ, with their Boundary IoU."""
    return replace(segments, pairs=tuple(replace(p, iou=_known(p)) for p in segments.pairs))


def _known(pair: Pair) -> float:
    if pair.boundary_iou is None:
        raise ValueError("Boundary IoU was not measured; see add_boundary_ious")
    return pair.boundary_iou


def _union(first: Sequence[int], second: Sequence[int]) -> Tuple[slice, slice]:
    """Rows and columns that hold two boxes of x, y, width, height."""
    left, top = (min(first[k], second[k]) for k in (0, 1))
    right, bottom = (max(first[k] + first[k + 2], second[k] + second[k + 2]) for k in (0, 1))
    return slice(top, bottom), slice(left, right)
