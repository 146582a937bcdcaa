"""Groups of images by their names."""

import re

import pytest

from effps_solo.data.checks.groups import group_findings, group_of


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("IMG_0819_456.jpg", "IMG_0819"),
        ("a/20230329_200519_157_R_003.jpg", "20230329_200519_157_R"),
        ("clip7-0012.png", "clip7"),
        ("frame_0012.png", None),
        ("000000000139.jpg", None),
        ("street_jpg.rf.0c3a41d9.jpg", "street"),
        ("photo_12_png.rf.0c3a41d9.jpg", "photo_12"),
        ("IMG_12_7_png.rf.0c3a41d9.jpg", "IMG_12"),
        ("x.jpg", None),
        ("", None),
    ],
)
def test_what_names_have_in_common(name: str, group: str) -> None:
    assert group_of(name, None) == group


def test_groups_in_several_splits() -> None:
    splits = [("train", ["p1_1.jpg", "p1_2.jpg", "p2_1.jpg"]), ("val", ["p1_3.jpg", "p1_4.jpg"])]
    train, val, test = group_findings([*splits, ("test", ["p2_9.jpg", "p3_1.jpg", ""])])
    assert train == []
    assert [f.text for f in val] == [
        "shares 1 groups of images with other splits: p1_3.jpg (p1_1.jpg in train)"
    ]
    assert [f.text for f in test] == [
        "shares 1 groups of images with other splits: p2_9.jpg (p2_1.jpg in train)"
    ]
    assert group_findings(splits, re.compile("^p(.)_[13]"))[1] and not any(
        group_findings(splits, re.compile("^p1_[14]"))[0]
    )
    assert group_findings([]) == []
