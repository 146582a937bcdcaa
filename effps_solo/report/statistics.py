"""The numbers of a report, from matched segments alone. Pure functions."""

import math
from collections import Counter
from dataclasses import astuple, dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from effps_solo.evaluation.matching import ImageSegments
from effps_solo.evaluation.quality import GROUPS, MEASURES, Scores, class_scores, group_scores
from effps_solo.structures.classes import PanopticClass

# COCO's sizes: name, in words, smallest area, and the area from which it is the next.
SIZES = (
    ("small", "below 32² px", 0, 32**2),
    ("medium", "below 96² px", 32**2, 96**2),
    ("large", "from 96² px", 96**2, math.inf),
)
NUM_SCORE_BINS = 10
NUM_RESAMPLES = 1000
_COVERAGE = 95  # percent of the interval of a difference
MISSED = "missed"  # the column of true segments without a prediction
NOTHING = "nothing"  # the row of predicted segments without truth


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


def groups_of(counts: Mapping[int, Counts], classes: Sequence[PanopticClass]) -> List[Scores]:
    """PQ, SQ and RQ in percent of all classes, of things and of stuff; nan for a group without any."""
    categories = {c.dataset_id: {"isthing": c.isthing} for c in classes}
    per_class = {key: class_scores(counts[key]) for key in categories}
    return [group_scores(per_class, categories, isthing)[0] for _, _, isthing in GROUPS]


def quality_by_size(
    images: Sequence[ImageSegments], classes: Sequence[PanopticClass]
) -> List[Tuple[str, Scores, Counts]]:
    """(size, PQ SQ RQ of the things of that size, their counts) for the sizes of COCO."""
    rows = []
    for name, _, low, high in SIZES:
        counts = count_classes(images, classes, (low, high))
        things = total(counts[c.dataset_id] for c in classes if c.isthing)
        rows.append((name, groups_of(counts, classes)[1], things))
    return rows


def confusion(
    images: Iterable[ImageSegments], classes: Sequence[PanopticClass]
) -> Counter[Tuple[str, str]]:
    """(true class, predicted class) -> matched segments.

    The predicted class is ``MISSED`` for true segments that no prediction matches, the true one is
    ``NOTHING`` for false predictions that match no true segment.
    """
    names = {c.dataset_id: c.name for c in classes}
    table: Counter[Tuple[str, str]] = Counter()
    for segments in images:
        verdicts = Verdicts(segments)
        for segment in segments.truth:
            if not segment.iscrowd:
                partner = verdicts.partner.get(segment.id)
                predicted = names[partner.category_id] if partner else MISSED
                table[names[segment.category_id], predicted] += 1
        for prediction in segments.predictions:
            if prediction.id in verdicts.false - verdicts.wrong_class:
                table[NOTHING, names[prediction.category_id]] += 1
    return table


@dataclass(frozen=True)
class ScoreBin:
    """Predicted segments whose scores lie in one interval.

    Attributes:
        low, high: of the interval; ``high`` belongs to the last one alone.
        count: segments.
        mean_score: in [0, 1].
        precision: share of true positives, in [0, 1].
    """

    low: float
    high: float
    count: int
    mean_score: float
    precision: float


def calibration(
    images: Iterable[ImageSegments], classes: Sequence[PanopticClass], isthing: bool
) -> Tuple[List[ScoreBin], float]:
    """How well scores are calibrated: the precision of segments by score.

    Segments without a score, and those over void and crowds that match nothing, do not count.

    Returns:
        the bins that are not empty, and the expected calibration error: the mean distance of score and
        precision, weighted by the counts (Guo et al., ICML 2017, eq. 5); nan without segments.
    """
    wanted = {c.dataset_id for c in classes if c.isthing == isthing}
    members: Dict[int, List[Tuple[float, bool]]] = {}
    for segments in images:
        verdicts = Verdicts(segments)
        for s in segments.predictions:
            judged = s.id in verdicts.correct or s.id in verdicts.false
            if judged and s.score is not None and s.category_id in wanted:
                index = min(int(s.score * NUM_SCORE_BINS), NUM_SCORE_BINS - 1)
                members.setdefault(index, []).append((s.score, s.id in verdicts.correct))
    bins = []
    for index, values in sorted(members.items()):
        score, precision = np.mean(np.array(values, dtype=float), axis=0).tolist()
        low, high = index / NUM_SCORE_BINS, (index + 1) / NUM_SCORE_BINS
        bins.append(ScoreBin(low, high, len(values), score, precision))
    if not bins:
        return bins, math.nan
    distances = sum(b.count * abs(b.mean_score - b.precision) for b in bins)
    return bins, distances / sum(b.count for b in bins)


@dataclass(frozen=True)
class Difference:
    """A second run's PQ minus a first one's, in percent points.

    Attributes:
        value: on all images; nan where a run has no such class.
        low, high: where it lies with 95 % for other images of the same kind.
    """

    value: float
    low: float
    high: float

    @property
    def is_real(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def pq_differences(
    first: Sequence[ImageSegments],
    second: Sequence[ImageSegments],
    classes: Sequence[PanopticClass],
) -> Tuple[List[Difference], Dict[int, Difference]]:
    """Two runs on the same images, with the uncertainty that comes from the choice of images.

    The images are drawn anew with replacement 1,000 times, the same ones for both runs (the paired
    bootstrap; Efron and Tibshirani, 1993), always with the same seed.

    Args:
        first, second: the same images in the same order.

    Returns:
        the differences of all classes, things and stuff, and those by dataset id of a class.
    """
    weights = _image_weights(len(first))
    before, after = (_weighted_pq(weights, _counts(run, classes)) for run in (first, second))
    differences = map(_difference, (after - before).T)
    by_class = dict(zip((c.dataset_id for c in classes), differences))
    groups = []
    for _, _, isthing in GROUPS:
        columns = [k for k, c in enumerate(classes) if isthing in (None, c.isthing)]
        groups.append(_difference(_mean(after[:, columns]) - _mean(before[:, columns])))
    return groups, by_class


def _image_weights(num_images: int) -> np.ndarray:
    """(1 + NUM_RESAMPLES, images): each image once, then how often it was drawn."""
    drawn: np.ndarray = np.zeros((NUM_RESAMPLES, num_images))
    if num_images:
        shares = np.full(num_images, 1 / num_images)
        drawn = np.random.default_rng(0).multinomial(num_images, shares, NUM_RESAMPLES)
    return np.concatenate([np.ones((1, num_images)), drawn])


def _counts(images: Sequence[ImageSegments], classes: Sequence[PanopticClass]) -> np.ndarray:
    """(images, classes, 4): tp, fp, fn and iou of :class:`Counts`."""
    rows = [
        [(c.tp, c.fp, c.fn, c.iou) for c in count_classes([segments], classes).values()]
        for segments in images
    ]
    return np.array(rows, dtype=float).reshape(len(images), len(classes), 4)


def _weighted_pq(weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(R, N) times of each image, (N, C, 4) -> (R, C) PQ in percent; nan where a class is absent."""
    tp, fp, fn, iou = np.moveaxis(np.tensordot(weights, counts, axes=1), -1, 0)
    present = tp + fp + fn
    return np.where(present > 0, 100 * iou / np.maximum(tp + 0.5 * fp + 0.5 * fn, 0.5), np.nan)


def _mean(values: np.ndarray) -> np.ndarray:
    """(R, C) -> (R,) means that leave out nan; nan where there is nothing else."""
    return np.ma.masked_invalid(values).mean(axis=1).filled(np.nan)


def _difference(values: np.ndarray) -> Difference:
    """The first value with the interval of the others."""
    drawn = values[1:][~np.isnan(values[1:])]
    if np.isnan(values[0]) or not len(drawn):
        return Difference(math.nan, math.nan, math.nan)
    tail = (100 - _COVERAGE) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail]).tolist()
    return Difference(float(values[0]), low, high)


def image_pq(segments: ImageSegments, classes: Sequence[PanopticClass]) -> Optional[float]:
    """PQ of one image in percent, the mean over the classes that it holds; None if it holds none."""
    value = groups_of(count_classes([segments], classes), classes)[0][MEASURES[0]]
    return None if math.isnan(value) else value
