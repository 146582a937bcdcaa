"""Matching against cases worked out by hand and against panopticapi's counts."""

from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import pytest
from panopticapi.evaluation import pq_compute_single_core

from effps_solo.evaluation.matching import ImageSegments, match_segments
from effps_solo.structures.panoptic_png import encode_segment_ids

PERSON, CAR, ROAD = 7, 3, 21
Info = List[Dict[str, Any]]


def _truth(ids: np.ndarray, categories: Dict[int, int], crowds: Tuple[int, ...] = ()) -> Info:
    return [
        {"id": k, "category_id": c, "area": int((ids == k).sum()), "iscrowd": int(k in crowds)}
        for k, c in categories.items()
    ]


def _row(*runs: Tuple[int, int]) -> np.ndarray:
    """(1, W) ids of runs (id, length)."""
    return np.array([[key for key, length in runs for _ in range(length)]])


def test_a_car_taken_for_a_person_is_a_pair() -> None:
    true, predicted = _row((1, 4), (2, 6)), _row((5, 5), (9, 5))
    found = match_segments(
        true,
        _truth(true, {1: CAR, 2: ROAD}),
        predicted,
        [{"id": 5, "category_id": PERSON, "score": 0.7}, {"id": 9, "category_id": ROAD}],
    )
    assert [(p.truth, p.prediction, p.iou) for p in found.pairs] == [(1, 5, 4 / 5), (2, 9, 5 / 6)]
    assert [(s.score, s.area, s.ignored) for s in found.predictions] == [
        (0.7, 5, False),
        (None, 5, False),
    ]


def test_half_is_no_pair() -> None:
    true, predicted = _row((1, 2), (2, 2)), _row((5, 4))
    truth = _truth(true, {1: CAR, 2: ROAD})
    assert not match_segments(true, truth, predicted, [{"id": 5, "category_id": CAR}]).pairs


def test_void_is_left_out_of_the_union() -> None:
    true, predicted = _row((1, 3), (0, 7)), _row((5, 10))
    found = match_segments(
        true, _truth(true, {1: CAR}), predicted, [{"id": 5, "category_id": PERSON}]
    )
    assert found.pairs[0].iou == 1
    assert found.predictions[0].ignored  # 7 of 10 pixels are void


def test_a_crowd_matches_nothing_and_excuses_its_class() -> None:
    true, predicted = _row((1, 8)), _row((5, 4), (6, 4))
    found = match_segments(
        true,
        _truth(true, {1: CAR}, crowds=(1,)),
        predicted,
        [{"id": 5, "category_id": CAR}, {"id": 6, "category_id": PERSON}],
    )
    assert not found.pairs and found.truth[0].iscrowd
    assert [s.ignored for s in found.predictions] == [True, False]


def test_nothing_anywhere() -> None:
    empty = np.zeros((3, 4), dtype=np.int32)
    assert match_segments(empty, [], empty, []) == ImageSegments((), (), ())
    missed = [{"id": 4, "category_id": CAR, "area": 2, "iscrowd": 0}]
    assert len(match_segments(empty, missed, empty, []).truth) == 1


def test_different_sizes() -> None:
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(4, 3\)"):
        match_segments(np.zeros((3, 4)), [], np.zeros((4, 3)), [])


@pytest.mark.parametrize("seed", range(20))
def test_counts_are_those_of_panopticapi(seed: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(seed)
    true, truth = _random_truth(generator)
    predicted = np.where(generator.random(true.shape) < 0.8, np.roll(true, 1, axis=1) + 40, 0)
    for key in (90, 91, 300_000):
        y, x = generator.integers(0, 16, 2)
        predicted[y : y + 6, x : x + 9] = key
    predicted[predicted == 40] = 0
    info = [
        {"id": key, "category_id": int(generator.choice([PERSON, CAR, ROAD]))}
        for key in np.unique(predicted[predicted > 0]).tolist()
    ]
    assert _counts(match_segments(true, truth, predicted, info)) == _expected(
        tmp_path, true, truth, predicted, info
    )


def _random_truth(generator: np.random.Generator) -> Tuple[np.ndarray, Info]:
    """Blocks, some of them hidden as a whole; crowds; an area that the JSON tells wrong."""
    ids = np.zeros((20, 24), dtype=np.int32)
    for key in range(1, 12):
        y, x = generator.integers(0, 18, 2)
        ids[y : y + generator.integers(2, 9), x : x + generator.integers(2, 9)] = key
    categories = {key: int(generator.choice([PERSON, CAR, ROAD])) for key in range(1, 12)}
    truth = _truth(ids, categories, crowds=tuple(generator.integers(1, 12, 2).tolist()))
    truth[0]["area"] += 3
    return ids, truth


def _counts(found: ImageSegments) -> Dict[int, Any]:
    """Category -> (true positives, false positives, false negatives, sum of IoUs)."""
    true = {s.id: s.category_id for s in found.truth if not s.iscrowd}
    predicted = {s.id: s.category_id for s in found.predictions}
    right = [p for p in found.pairs if true[p.truth] == predicted[p.prediction]]
    counts = {}
    for category in (PERSON, CAR, ROAD):
        hits = [p for p in right if true[p.truth] == category]
        false = [s for s in found.predictions if s.category_id == category and not s.ignored]
        counts[category] = (
            len(hits),
            len({s.id for s in false} - {p.prediction for p in right}),
            sum(c == category for c in true.values()) - len(hits),
            pytest.approx(sum(p.iou for p in hits)),
        )
    return counts


def _expected(
    folder: Path, true: np.ndarray, truth: Info, predicted: np.ndarray, info: Info
) -> Dict[int, Any]:
    (folder / "true.png").write_bytes(encode_segment_ids(true))
    (folder / "predicted.png").write_bytes(encode_segment_ids(predicted))
    pair = (
        {"image_id": 1, "file_name": "true.png", "segments_info": truth},
        {"file_name": "predicted.png", "segments_info": [dict(s) for s in info]},
    )
    categories = {key: {} for key in (PERSON, CAR, ROAD)}
    statistics = pq_compute_single_core(0, [pair], str(folder), str(folder), categories)
    return {
        key: (statistics[key].tp, statistics[key].fp, statistics[key].fn, statistics[key].iou)
        for key in categories
    }
