"""Predictions as labels to train on: what the model is unsure of becomes void, which teaches nothing."""

import numpy as np

from effps_solo.structures.panoptic_png import VOID

from .result import PanopticResult


def unsure_pixels(result: PanopticResult, min_score: float) -> np.ndarray:
    """(H, W) bool: the pixels of segments whose score is below ``min_score``."""
    unsure = [segment.id for segment in result.segments if segment.score < min_score]
    return np.isin(result.panoptic, unsure)


def void_unsure(result: PanopticResult, min_score: float) -> PanopticResult:
    """The result without its unsure pixels; a segment that has no others is gone.

    Args:
        min_score: see :func:`unsure_pixels`; 0: nothing is unsure.
    """
    unsure = unsure_pixels(result, min_score)
    if not unsure.any():
        return result
    ids = np.where(unsure, VOID, result.panoptic)
    segments = [vars(segment) for segment in result.segments]
    return PanopticResult.from_prediction(result.image, ids, segments, result.classes)
