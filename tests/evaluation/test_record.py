"""The record of an evaluation: written and read, and damaged files."""

from pathlib import Path

import pytest

from effps_solo.evaluation.matching import ImageSegments, Pair, PredictedSegment, TrueSegment
from effps_solo.evaluation.record import RECORD_NAME, EvaluatedImage, EvaluationRecord, read_record
from effps_solo.structures.classes import PanopticClass
from effps_solo.utils.errors import UserError

SEGMENTS = ImageSegments(
    truth=(TrueSegment(1, 26, 40, False), TrueSegment(70000, 26, 9, True)),
    predictions=(PredictedSegment(5, 26, 38, 0.75), PredictedSegment(6, 7, 50, None, True)),
    pairs=(Pair(1, 5, 0.9),),
)
RECORD = EvaluationRecord(
    data_set="tiny_val",
    classes=(PanopticClass("car", True, 26, (1, 2, 3)), PanopticClass("road", False, 7, (4, 5, 6))),
    images=(
        EvaluatedImage("id/1", "ä.jpg", "images/ä.jpg", "png/ä.png", "id%2F1.png", SEGMENTS),
        EvaluatedImage(2, "b.jpg", "b.jpg", "b.png", "2.png", ImageSegments((), (), ())),
    ),
)


def test_read_as_written(tmp_path: Path) -> None:
    assert RECORD.write(tmp_path) == tmp_path / RECORD_NAME
    assert read_record(tmp_path / RECORD_NAME) == RECORD


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "no record of an evaluation"),
        ("[]", "no record of an evaluation"),
        ("{}", "no record of an evaluation"),
        ('{"format": 2, "data_set": "a", "classes": [], "images": [{}]}', "no record"),
        ('{"format": 99}', "another version"),
    ],
)
def test_damaged(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / RECORD_NAME
    path.write_text(content)
    with pytest.raises(UserError, match=message) as error:
        read_record(path)
    assert str(error.value).startswith(str(path)) and "UserError" not in str(error.value)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="evaluate first"):
        read_record(tmp_path / RECORD_NAME)
