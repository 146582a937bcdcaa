"""The lists of a panoptic JSON with everything wrong at once."""

from typing import Any, List

import pytest

from effps_solo.data.checks.entries import (
    Category,
    category_difference,
    read_annotations,
    read_categories,
    read_images,
    segment_findings,
)
from effps_solo.data.checks.entries import Segment as S
from effps_solo.data.checks.findings import Finding

ROAD, CAR = Category("road", False), Category("car", True)


def kinds(findings: List[Finding]) -> List[str]:
    return [finding.kind for finding in findings]


def test_categories() -> None:
    found, findings = read_categories(
        [
            {"id": 9, "name": "road", "isthing": 0},
            {"id": 2, "name": "car", "isthing": True},
            {"id": 2, "name": "bus", "isthing": 1},
            {"id": 3, "name": "car", "isthing": 1},
            {"id": "4", "name": "van", "isthing": 1},
            {"id": 5, "name": "", "isthing": 2},
            {"id": 6},
        ]
    )
    assert found == {9: ROAD, 2: CAR, 3: CAR} and list(found) == [9, 2, 3]
    assert kinds(findings) == ["duplicate-category"] * 2 + ["malformed-entry"] * 3
    assert [f.text for f in findings[2:]] == [
        "has id 4",
        "has name  and has isthing 2",
        "has no name, isthing",
    ]


@pytest.mark.parametrize(("count", "expected"), [(255, []), (256, ["too-many-categories"])])
def test_at_most_255_categories(count: int, expected: List[str]) -> None:
    _, findings = read_categories([{"id": i, "name": str(i), "isthing": 0} for i in range(count)])
    assert kinds(findings) == expected


@pytest.mark.parametrize(
    ("actual", "words"),
    [
        ({9: ROAD, 2: CAR}, None),
        ({2: CAR, 9: ROAD}, "another order"),
        ({9: ROAD}, "category 2 is missing, there 'car' (thing)"),
        ({9: ROAD, 2: CAR, 4: CAR}, "category 4 is 'car' (thing), there missing"),
        ({9: ROAD, 2: Category("car", False)}, "category 2 is 'car' (stuff), there 'car' (thing)"),
    ],
)
def test_difference_of_categories(actual: Any, words: Any) -> None:
    difference = category_difference({9: ROAD, 2: CAR}, actual)
    assert difference is None if words is None else words in str(difference)


def test_images() -> None:
    size = {"height": 4, "width": 5}
    found, findings = read_images(
        [
            {"id": "a", "file_name": "a.png", **size},
            {"id": 1, "file_name": "b.png", "height": 0, "width": 5.0},
            {"id": 1, "file_name": "c.png", **size},
            {"id": 2, "file_name": "a.png", **size},
            {"id": [3], "file_name": "d.png", **size},
            {"file_name": "e.png"},
        ]
    )
    assert {key: image.size for key, image in found.items()} == {"a": (4, 5), 1: None, 2: (4, 5)}
    assert kinds(findings) == [
        "malformed-entry",
        "duplicate-image-id",
        "malformed-entry",
        "malformed-entry",
        "file-listed-twice",
    ]


def test_annotations_are_kept_as_far_as_they_can_be_used() -> None:
    found, findings = read_annotations(
        [
            {"image_id": 1, "file_name": "1.png", "segments_info": [7, {"id": True}, {"id": 5}]},
            {"image_id": 2, "segments_info": {}},
            {"file_name": "3.png"},
            {"image_id": 4, "file_name": "1.png", "segments_info": []},
        ],
        {2: CAR},
    )
    assert [(a.position, a.image_id, a.file_name) for a in found] == [
        (0, 1, "1.png"),
        (1, 2, None),
        (3, 4, "1.png"),
    ]
    assert found[0].segments == [S(5, None, False, None, None)]
    assert found[1].segments is None and found[2].segments == []
    assert kinds(findings) == ["malformed-entry"] * 5 + ["file-listed-twice"]


def test_stuff_in_one_segment_that_is_listed_twice_is_not_split() -> None:
    segments = [S(1, 9, False, 3, None), S(1, 9, False, 3, None), S(2, 2, True, 3, None)]
    assert kinds(segment_findings(segments, {9: ROAD, 2: CAR}, "x")) == ["duplicate-segment-id"]


def test_nothing_in_nothing_out() -> None:
    assert read_categories([]) == ({}, []) and read_images([]) == ({}, [])
    assert read_annotations([], {}) == ([], []) and segment_findings([], {}, "x") == []
