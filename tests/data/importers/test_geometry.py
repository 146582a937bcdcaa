"""Points and run lengths: every nesting, and everything that cannot be meant."""

from typing import Any, List

import numpy as np
import pycocotools.mask as mask_util
import pytest

from effps_solo.data.importers.geometry import (
    FaultyShapeError,
    NoAreaError,
    mask_of_runs,
    plausible_rings,
    rings_of,
    run_lengths,
    stated_size,
)

SIZE = (30, 40)
TRIANGLE = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
FLAT = [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (FLAT, [TRIANGLE]),
        (["1", "2", "3.0", 4, 5, 6], [TRIANGLE]),
        ([FLAT], [TRIANGLE]),
        (TRIANGLE, [TRIANGLE]),
        ([TRIANGLE], [TRIANGLE]),
        ([[TRIANGLE]], [TRIANGLE]),
        (tuple(map(tuple, TRIANGLE)), [TRIANGLE]),
        (np.array(TRIANGLE), [TRIANGLE]),
        ([FLAT, [7, 8, 9, 10]], [TRIANGLE, [[7, 8], [9, 10]]]),
        ([TRIANGLE, TRIANGLE], [TRIANGLE, TRIANGLE]),
        ([{"x": x, "y": y} for x, y in TRIANGLE], [TRIANGLE]),
        ([[{"x": x, "y": y, "z": 0} for x, y in TRIANGLE]], [TRIANGLE]),
        ([[1, 2], [3, 4]], [[[1, 2], [3, 4]]]),
        ([[1, 2]], [[[1, 2]]]),
        ([], []),
        ([[]], []),
        ([[], FLAT], [TRIANGLE]),
    ],
)
def test_nestings(points: Any, expected: List[Any]) -> None:
    assert [ring.tolist() for ring in rings_of(points)] == expected


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([1, 2, 3], "odd number"),
        ([None], "odd number"),
        ([[1], [2], [3]], "odd number"),
        (None, "None is no list of points"),
        ("1,2;3,4", "no list of points"),
        (7, "no list of points"),
        ({"x": 1}, "no list of points"),
        ([[[[[[[FLAT]]]]]]], "no list of points"),
        ([1, [2, 3]], "is no number"),
        ([[2, 3], 1], "1 is no list of points"),
        ([{"x": 1}, 5], "is no number"),
        ([["x", 1], [2, 3], [4, 5]], "is no number"),
        ([10**400, 1, 2, 3, 4, 5], "is no number"),
        ([float("nan"), 1, 2, 3, 4, 5], "no finite number"),
        ([None, 1, 2, 3, 4, 5], "no finite number"),
        ([1, float("inf"), 2, 3, 4, 5], "no finite number"),
        ([1e9, 1, 2, 3, 4, 5], r"its point \(1e\+09, 1\) lies far outside of the image of 40x30"),
        ([1, 2, 3, -700, 4, 5], r"its point \(3, -700\) lies far outside"),
    ],
)
def test_what_cannot_be_meant(points: Any, message: str) -> None:
    with pytest.raises(FaultyShapeError, match=message):
        plausible_rings(points, SIZE)


def test_polygons_of_less_than_three_points() -> None:
    assert [ring.tolist() for ring in plausible_rings([FLAT, [1, 2, 3, 4]], SIZE)] == [TRIANGLE]
    for points in ([], [[1, 2, 3, 4]], [[1, 2]]):
        with pytest.raises(NoAreaError, match="of less than three points"):
            plausible_rings(points, SIZE)
    beyond = [-600, -600, 600, 0, 0, 600]  # an object may go on outside of the image
    assert len(plausible_rings(beyond, SIZE)) == 1


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (30, 40, (30, 40)),
        ("30", "40.0", (30, 40)),
        (30.0, None, (30, None)),
        (0, -3, (None, None)),
        ("", "high", (None, None)),
        (float("nan"), float("inf"), (None, None)),
        ([30], {}, (None, None)),
        (30.5, 10**400, (None, None)),
    ],
)
def test_sizes_as_files_state_them(height: Any, width: Any, expected: Any) -> None:
    assert stated_size(height, width) == expected


@pytest.mark.parametrize("seed", range(20))
def test_runs_are_those_of_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = tuple(rng.integers(1, 300, 2).tolist())
    mask = np.asfortranarray(rng.random(size) < rng.choice([0.01, 0.5, 0.99]), dtype=np.uint8)
    rle = mask_util.encode(mask)
    for counts in (rle["counts"], rle["counts"].decode(), run_lengths(rle["counts"]).tolist()):
        found = mask_of_runs({"counts": counts, "size": list(size)}, size)
        assert found.dtype == bool and np.array_equal(found, mask)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ({"counts": [0, 1201], "size": [30, 40]}, "sum to 1201, its image has 1200 pixels"),
        ({"counts": [10, 20], "size": [30, 40]}, "sum to 30, its image has 1200 pixels"),
        ({"counts": [], "size": [30, 40]}, "sum to 0,"),
        ({"counts": "", "size": [30, 40]}, "sum to 0,"),
        ({"counts": "zzzzzz~~~", "size": [30, 40]}, "sum to 226,"),
        ({"counts": "oooo", "size": [30, 40]}, "sum to 0,"),  # one length that never ends
        ({"counts": "\ud800x", "size": [30, 40]}, "sum to|damaged"),
        ({"counts": "o" * 30 + "0", "size": [30, 40]}, "text of its run lengths is damaged"),
        ({"counts": [1300, -100], "size": [30, 40]}, "below 0"),
        ({"counts": [1e300, 1], "size": [30, 40]}, "beyond any image"),
        ({"counts": [float("nan")], "size": [30, 40]}, "no list of whole numbers"),
        ({"counts": [0.5, 1199.5], "size": [30, 40]}, "no list of whole numbers"),
        ({"counts": [[1200]], "size": [30, 40]}, "no list of whole numbers"),
        ({"counts": ["x"], "size": [30, 40]}, "are no numbers"),
        ({"counts": {}, "size": [30, 40]}, "are no numbers|no list"),
        ({"counts": [1200], "size": [40, 30]}, "is made for 30x40 pixels, its image has 40x30"),
        ({"counts": [1200], "size": [30]}, "is no RLE with counts and size"),
        ({"counts": [1200]}, "is no RLE with counts and size"),
        ({"size": [30, 40]}, "is no RLE with counts and size"),
        ([], "is no RLE with counts and size"),
    ],
)
def test_damaged_runs(rle: Any, message: str) -> None:
    with pytest.raises(FaultyShapeError, match=message):
        mask_of_runs(rle, SIZE)


def test_sizes_of_runs_may_be_text() -> None:
    assert mask_of_runs({"counts": ["0", "1200"], "size": ["30", 40.0]}, SIZE).all()
