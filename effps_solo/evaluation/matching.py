"""Matching of predicted and true segments by the rules of panoptic quality, regardless of class.

panopticapi counts matches of equal class and keeps nothing else. To say what a missed object was taken
for, segments are matched here by their pixels alone: Kirillov et al., CVPR 2019, section 4.1, show that
an IoU above one half makes the match unique, and nothing in that proof asks for the classes.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

import numpy as np

from effps_solo.structures.panoptic_png import VOID
from effps_solo.structures.segment_measures import common_areas

MIN_IOU = 0.5  # a match has more
MAX_IGNORED = 0.5  # a prediction with a larger share over void and crowds is no false one


@dataclass(frozen=True)
class TrueSegment:
    """A segment of the ground truth; ``category_id`` is the data set's, ``area`` in pixels.

    A crowd (``iscrowd``), a group of objects annotated as one segment, matches nothing.
    """

    id: int
    category_id: int
    area: int
    iscrowd: bool


@dataclass(frozen=True)
class PredictedSegment:
    """A predicted segment.

    Attributes:
        id: in the predicted image.
        category_id: the data set's.
        area: pixels.
        score: in [0, 1]; None where the model gives none, as for stuff.
        ignored: most of it lies over void or over a crowd of its class, so it is not false without a
            match.
    """

    id: int
    category_id: int
    area: int
    score: Optional[float] = None
    ignored: bool = False


@dataclass(frozen=True)
class Pair:
    """A match: ids of both segments and their IoU, above one half, void left out.

    ``boundary_iou`` is known where :mod:`.boundary` measured it.
    """

    truth: int
    prediction: int
    iou: float
    boundary_iou: Optional[float] = None


@dataclass(frozen=True)
class ImageSegments:
    """All segments of an image and their matches."""

    truth: Tuple[TrueSegment, ...]
    predictions: Tuple[PredictedSegment, ...]
    pairs: Tuple[Pair, ...]


def match_segments(
    true_ids: np.ndarray,
    true_info: Sequence[Mapping[str, Any]],
    predicted_ids: np.ndarray,
    predicted_info: Sequence[Mapping[str, Any]],
) -> ImageSegments:
    """Match the segments of one image.

    Args:
        true_ids: (H, W) segment ids of the ground truth; 0 is void.
        true_info: "id", "category_id", "area" and "iscrowd" of each segment, as a panoptic JSON has them.
        predicted_ids: (H, W) predicted segment ids; 0 is none.
        predicted_info: "id", "category_id" and perhaps "score" of each segment that has pixels.

    Returns:
        the segments. Pairs of equal class, and what they leave over, are panopticapi's true positives,
        false positives and false negatives; as there, true areas are those of the JSON.

    Raises:
        ValueError: the two images differ in size.
    """
    if true_ids.shape != predicted_ids.shape:
        raise ValueError(
            f"true {true_ids.shape} and predicted {predicted_ids.shape} differ in size"
        )
    common = common_areas(true_ids, predicted_ids)
    areas: Dict[int, int] = Counter()
    for (_, predicted_id), area in common.items():
        areas[predicted_id] += area
    return ImageSegments(
        truth=tuple(
            TrueSegment(s["id"], s["category_id"], s["area"], bool(s["iscrowd"])) for s in true_info
        ),
        predictions=_predicted(predicted_info, areas, true_info, common),
        pairs=_pairs(true_info, areas, common),
    )


def _predicted(
    info: Sequence[Mapping[str, Any]],
    areas: Mapping[int, int],
    true_info: Sequence[Mapping[str, Any]],
    common: Mapping[Tuple[int, int], int],
) -> Tuple[PredictedSegment, ...]:
    crowds = {s["category_id"]: s["id"] for s in true_info if s["iscrowd"]}
    segments = []
    for segment in info:
        key, category, area = segment["id"], segment["category_id"], areas[segment["id"]]
        unjudged = common.get((VOID, key), 0)
        if category in crowds:
            unjudged += common.get((crowds[category], key), 0)
        ignored = unjudged / area > MAX_IGNORED
        segments.append(PredictedSegment(key, category, area, segment.get("score"), ignored))
    return tuple(segments)


def _pairs(
    true_info: Sequence[Mapping[str, Any]],
    areas: Mapping[int, int],
    common: Mapping[Tuple[int, int], int],
) -> Tuple[Pair, ...]:
    """In the order of ids."""
    true_areas = {s["id"]: s["area"] for s in true_info if not s["iscrowd"]}
    pairs = []
    for (true_id, predicted_id), area in sorted(common.items()):
        if true_id in true_areas and predicted_id != VOID:
            # Pixels that are void in the truth do not count against the prediction.
            union = true_areas[true_id] + areas[predicted_id] - area
            iou = area / (union - common.get((VOID, predicted_id), 0))
            if iou > MIN_IOU:
                pairs.append(Pair(true_id, predicted_id, iou))
    return tuple(pairs)
