"""What matched segments are: true positives, false positives, false negatives, and their counts."""

import math
from dataclasses import astuple, dataclass
from typing import Dict, Iterable, Sequence, Tuple

import numpy as np

from effps_solo.structures.classes import PanopticClass

from .matching import ImageSegments


@dataclass
class Counts:
    """True positives, false positives, false negatives; ``iou`` is the sum over the true positives."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    iou: float = 0.0


class Verdicts:
    """The segments of one image as true positives, false positives and false negatives.

    Attributes:
        partner: id of a true segment -> the prediction that matches it, of any class.
        correct: id of a predicted segment of the right class -> IoU.
        wrong_class: ids of predicted segments that match a true one of another class.
        missed: ids of true segments without a prediction of their class; crowds are never missed.
        false: ids of predicted segments that count against the model, those of the wrong class included.
    """

    def __init__(self, segments: ImageSegments) -> None:
        predictions = {s.id: s for s in segments.predictions}
        classes = {s.id: s.category_id for s in segments.truth}
        self.partner = {pair.truth: predictions[pair.prediction] for pair in segments.pairs}
        right = [p for p in segments.pairs if self.partner[p.truth].category_id == classes[p.truth]]
        self.correct = {pair.prediction: pair.iou for pair in right}
        self.wrong_class = {pair.prediction for pair in segments.pairs} - set(self.correct)
        found = {pair.truth for pair in right}
        self.missed = {s.id for s in segments.truth if not s.iscrowd and s.id not in found}
        self.false = {
            s.id for s in segments.predictions if not s.ignored and s.id not in self.correct
        }


def count_classes(
    images: Iterable[ImageSegments],
    classes: Sequence[PanopticClass],
    areas: Tuple[float, float] = (0, math.inf),
) -> Dict[int, Counts]:
    """Dataset id of each class -> its counts.

    Args:
        areas: only segments of at least so many and of less than so many pixels: the true one's where
            there is one, else the predicted one's.
    """
    counts = {c.dataset_id: Counts() for c in classes}
    for segments in images:
        verdicts = Verdicts(segments)
        for segment in segments.truth:
            if not areas[0] <= segment.area < areas[1]:
                continue
            of_class = counts[segment.category_id]
            partner = verdicts.partner.get(segment.id)
            if segment.id in verdicts.missed:
                of_class.fn += 1
            elif partner is not None:
                of_class.tp += 1
                of_class.iou += verdicts.correct[partner.id]
        for prediction in segments.predictions:
            if prediction.id in verdicts.false and areas[0] <= prediction.area < areas[1]:
                counts[prediction.category_id].fp += 1
    return counts


def total(counts: Iterable[Counts]) -> Counts:
    """Their sum; zeros for none."""
    return Counts(*map(sum, zip(*map(astuple, counts))))


def count_array(images: Sequence[ImageSegments], classes: Sequence[PanopticClass]) -> np.ndarray:
    """(N, C, 4): tp, fp, fn and iou of :class:`Counts` of every image and class."""
    rows = [
        [astuple(counts) for counts in count_classes([segments], classes).values()]
        for segments in images
    ]
    return np.array(rows, dtype=float).reshape(len(images), len(classes), 4)
