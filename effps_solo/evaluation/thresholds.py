"""Which thresholds of the fusion give the best panoptic quality: pure functions of counts.

The counts of images add up, so that any part of them is judged without looking at an image again.

G parts of the images; S x O x A candidate thresholds: scores, overlaps, stuff areas; C classes.
"""

from dataclasses import dataclass
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from effps_solo.modeling.outputs import FusionThresholds
from effps_solo.structures.classes import PanopticClass

from .quality import GROUPS, mean_pq, pq_by_class

NUM_PARTS = 10  # of the images, in turn; the folds of the cross-validation
MIN_IMAGES = 5  # fewer say nothing about others
SURE_ERRORS = 2  # standard errors that a gain must exceed: 19 times of 20 it is no chance
_SCORES = [round(0.05 * i, 2) for i in range(2, 19)]
_OVERLAPS = [0.1, 0.3, 0.5, 0.7]
_STUFF_AREAS = [0.0, *(2.0**-i for i in range(12, 4, -1))]  # up to 1/32 of the image

# Field of FusionThresholds -> key of MODEL.PANOPTIC_FUSION.
_KEYS = {
    "score": "SCORE_THRESH",
    "overlap": "OVERLAP_THRESH",
    "stuff_area": "STUFF_AREA_FRACTION",
}

Index = Tuple[int, ...]  # of a candidate: along scores, overlaps and stuff areas


class Axis(NamedTuple):
    """A threshold and its candidate values, ascending, that of the config among them.

    Attributes:
        name: of the field of :class:`FusionThresholds`.
    """

    name: str
    values: Tuple[float, ...]


@dataclass(frozen=True)
class ThresholdGrid:
    """The candidates: all combinations of the values of three axes.

    Attributes:
        axes: score, overlap and stuff area.
        current: that of the config.
    """

    axes: Tuple[Axis, Axis, Axis]
    current: Index

    @classmethod
    def around(cls, current: FusionThresholds, classes: Sequence[PanopticClass]) -> "ThresholdGrid":
        """The usual values and the ``current`` ones; those alone where ``classes`` have no use for others."""
        has_things = any(c.isthing for c in classes)
        has_stuff = not all(c.isthing for c in classes)
        axes = (
            Axis("score", _with(_SCORES, current.score, has_things)),
            Axis("overlap", _with(_OVERLAPS, current.overlap, has_things)),
            Axis("stuff_area", _with(_STUFF_AREAS, current.stuff_area, has_stuff)),
        )
        return cls(axes, tuple(a.values.index(getattr(current, a.name)) for a in axes))

    @property
    def shape(self) -> Tuple[int, ...]:
        """(S, O, A)."""
        return tuple(len(axis.values) for axis in self.axes)

    def at(self, index: Index) -> FusionThresholds:
        """The thresholds of a candidate."""
        return FusionThresholds(**{a.name: a.values[i] for a, i in zip(self.axes, index)})

    def steps(self) -> np.ndarray:
        """(S, O, A): how many values each candidate is away from the current one."""
        distances = [np.abs(np.arange(size) - here) for size, here in zip(self.shape, self.current)]
        scores, overlaps, areas = np.ix_(*distances)
        return scores + overlaps + areas


def _with(usual: Sequence[float], current: float, matters: bool) -> Tuple[float, ...]:
    return tuple(sorted({*usual, current})) if matters else (current,)


@dataclass(frozen=True)
class Curve:
    """PQ along one threshold, the other two as chosen; percent, None where no such class occurs."""

    key: str
    values: List[float]
    pq: List[Optional[float]]
    pq_things: List[Optional[float]]
    pq_stuff: List[Optional[float]]


@dataclass(frozen=True)
class Tuning:
    """What came out; qualities in percent, gains in percent points.

    Attributes:
        model: whose heads they are for, a file.
        num_images: that it was found on.
        current: of the config.
        chosen: the better ones, or the current ones where none are better on other images.
        pq_current, pq_chosen: of all images; the second one flatters, for they were chosen on these.
            As an evaluation has them; choice and gains are of the classes of the ground truth alone.
        gain: of the rule on images that it did not see, by cross-validation; None without enough of them.
        gain_error: its standard error.
        gains_of_halves: chosen on one half of the images, measured on the other, and the reverse.
        curves: of each threshold that was tuned.
    """

    model: str
    num_images: int
    current: FusionThresholds
    chosen: FusionThresholds
    pq_current: float
    pq_chosen: float
    gain: Optional[float]
    gain_error: Optional[float]
    gains_of_halves: Tuple[float, ...]
    curves: List[Curve]

    def rows(self) -> List[Tuple[str, float, float]]:
        """Key of each threshold, the value of the config, and the chosen one."""
        current, chosen = vars(self.current), vars(self.chosen)
        return [(_KEYS[name], current[name], chosen[name]) for name in _KEYS]

    def sentences(self) -> List[str]:
        """For people: what was chosen, and what it is worth on other images."""
        if self.num_images < MIN_IMAGES:
            return [
                f"{self.num_images} images are too few to choose thresholds by ({MIN_IMAGES} are the "
                "least): those of the config stay."
            ]
        first, second = self.gains_of_halves
        if self.chosen == self.current:
            verdict = (
                "On images that did not choose them no others are better by more than chance may make "
                f"them ({SURE_ERRORS} standard errors): those of the config stay."
            )
        else:
            verdict = (
                f"PQ on these images: {self.pq_current:.2f} before, {self.pq_chosen:.2f} after."
            )
        return [
            verdict,
            "Gain of PQ on images that did not choose, by cross-validation over "
            f"{min(self.num_images, NUM_PARTS)} parts of {self.num_images} images: {self.gain:+.2f} "
            f"(standard error {self.gain_error:.2f}).",
            f"Chosen on one half, measured on the other: {first:+.2f}; the reverse: {second:+.2f}.",
        ]


def tune(
    counts: np.ndarray,
    num_images: int,
    grid: ThresholdGrid,
    classes: Sequence[PanopticClass],
    model: str = "",
) -> Tuning:
    """The thresholds, the curves, and what they are worth; those of the config for too few images.

    Args:
        counts: (G, S, O, A, C, 4) tp, fp, fn and iou of :class:`.verdicts.Counts`, summed over the images
            of each part.
        num_images: of all parts.
        classes: by contiguous id.
        model: of :class:`Tuning`.
    """
    counts = counts[:num_images]  # other parts are empty
    gain, error = None, None
    halves: Tuple[float, ...] = ()
    chosen = grid.current
    if num_images >= MIN_IMAGES:
        gain, error = cross_validated_gain(counts, grid)
        halves = tuple(
            _gain(other, grid, best_or_current(half, grid))
            for half, other in ((counts[0::2], counts[1::2]), (counts[1::2], counts[0::2]))
        )
        chosen = best_or_current(counts, grid)
    total = counts.sum(axis=0)
    return Tuning(
        model=model,
        num_images=num_images,
        current=grid.at(grid.current),
        chosen=grid.at(chosen),
        pq_current=_pq(total[grid.current]),
        pq_chosen=_pq(total[chosen]),
        gain=gain,
        gain_error=error,
        gains_of_halves=halves,
        curves=_curves(total, grid, chosen, classes),
    )


def best_or_current(counts: np.ndarray, grid: ThresholdGrid) -> Index:
    """:func:`best`, but the current candidate where the gain on other images may be chance."""
    gain, error = cross_validated_gain(counts, grid)
    return best(counts, grid) if gain > SURE_ERRORS * error else grid.current


def best(counts: np.ndarray, grid: ThresholdGrid) -> Index:
    """The candidate with the best PQ, or a more usual one that is as good.

    As good: its PQ is less than one standard error of the difference below the best (the rule of one
    standard error: Breiman et al., 1984, section 3.4.3; here of paired differences, by the jackknife over
    the parts). Of these the one that is the fewest steps away from the current one, then the best.
    """
    flat = counts.reshape(len(counts), -1, *counts.shape[-2:])
    quality, without = _quality(flat.sum(axis=0)), _quality(flat.sum(axis=0) - flat)
    steps = grid.steps().ravel()
    peak = np.lexsort((steps, -quality))[0]
    error = _jackknife_error(without[:, [peak]] - without)
    as_good = quality[peak] - quality <= error
    chosen = np.lexsort((-quality, steps, ~as_good))[0]
    return tuple(int(i) for i in np.unravel_index(chosen, grid.shape))


def cross_validated_gain(counts: np.ndarray, grid: ThresholdGrid) -> Tuple[float, float]:
    """PQ on parts that :func:`best` did not see, minus that of the current candidate, and its error.

    Each part is counted with the candidate that the others choose; the PQ is that of all these counts
    together, since PQ is no mean over images.
    """
    total = counts.sum(axis=0)
    held_out = np.zeros_like(counts[:, 0, 0, 0])
    for part, of_part in enumerate(counts):
        others = np.delete(counts, part, axis=0)
        held_out[part] = of_part[best(others, grid)]
    s, o, a = grid.current
    before = counts[:, s, o, a]
    gain = _quality(held_out.sum(axis=0)) - _quality(total[grid.current])
    without = _quality(held_out.sum(axis=0) - held_out) - _quality(total[grid.current] - before)
    return float(gain), float(_jackknife_error(without))


def _gain(counts: np.ndarray, grid: ThresholdGrid, index: Index) -> float:
    quality = _quality(counts.sum(axis=0))
    return float(quality[index] - quality[grid.current])


def _quality(counts: np.ndarray) -> np.ndarray:
    """(..., C, 4) -> (...) PQ over the classes of the ground truth; 0 without any.

    PQ itself also means over classes that are only predicted: their 0 is gone with the last false
    segment, a leap of whole points that says nothing about other images.
    """
    tp, _, fn, _ = np.moveaxis(counts, -1, 0)
    return np.nan_to_num(mean_pq(np.where(tp + fn > 0, pq_by_class(counts), np.nan)))


def _pq(counts: np.ndarray) -> float:
    """(C, 4) -> PQ as an evaluation has it; 0 where no class occurs."""
    return float(np.nan_to_num(mean_pq(pq_by_class(counts))))


def _jackknife_error(without: np.ndarray) -> np.ndarray:
    """The standard error of a statistic from its values (G, ...) without each of the parts."""
    num_parts = len(without)
    deviations = without - without.mean(axis=0)
    return np.sqrt((num_parts - 1) / max(num_parts, 1) * (deviations**2).sum(axis=0))


def _curves(
    total: np.ndarray, grid: ThresholdGrid, chosen: Index, classes: Sequence[PanopticClass]
) -> List[Curve]:
    by_class = pq_by_class(total)
    curves = []
    for number, axis in enumerate(grid.axes):
        if len(axis.values) > 1:
            along = tuple(slice(None) if i == number else k for i, k in enumerate(chosen))
            columns = [
                mean_pq(by_class[along][:, [isthing in (None, c.isthing) for c in classes]])
                for _, _, isthing in GROUPS
            ]
            known = [[None if np.isnan(v) else float(v) for v in column] for column in columns]
            curves.append(Curve(_KEYS[axis.name], list(axis.values), *known))
    return curves
