"""The numbers of a report, from matched segments alone. Pure functions."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from effps_solo.evaluation.matching import ImageSegments
from effps_solo.evaluation.quality import (
    GROUPS,
    MEASURES,
    Scores,
    class_scores,
    group_scores,
    mean_pq,
    pq_by_class,
)
from effps_solo.evaluation.verdicts import Counts, Verdicts, count_array, count_classes, total
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


def groups_of(
    counts: Mapping[int, Counts],
    classes: Sequence[PanopticClass],
    more: Optional[Mapping[int, Scores]] = None,
) -> List[Scores]:
    """PQ, SQ and RQ in percent of all classes, of things and of stuff; nan for a group without any.

    Args:
        more: further scores of every class, of which the groups get means, too.
    """
    categories = {c.dataset_id: {"isthing": c.isthing} for c in classes}
    per_class = {
        key: {**class_scores(counts[key]), **(more or {}).get(key, {})} for key in categories
    }
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
    before, after = (
        pq_by_class(np.tensordot(weights, count_array(run, classes), axes=1))
        for run in (first, second)
    )
    differences = map(_difference, (after - before).T)
    by_class = dict(zip((c.dataset_id for c in classes), differences))
    groups = []
    for _, _, isthing in GROUPS:
        columns = [k for k, c in enumerate(classes) if isthing in (None, c.isthing)]
        groups.append(_difference(mean_pq(after[:, columns]) - mean_pq(before[:, columns])))
    return groups, by_class


def _image_weights(num_images: int) -> np.ndarray:
    """(1 + NUM_RESAMPLES, images): each image once, then how often it was drawn."""
    drawn: np.ndarray = np.zeros((NUM_RESAMPLES, num_images))
    if num_images:
        shares = np.full(num_images, 1 / num_images)
        drawn = np.random.default_rng(0).multinomial(num_images, shares, NUM_RESAMPLES)
    return np.concatenate([np.ones((1, num_images)), drawn])


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
