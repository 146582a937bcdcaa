"""What pixels say against what a JSON says; thumbnails."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from effps_solo.data.checks.duplicates import nearest_copy
from effps_solo.data.checks.entries import Segment
from effps_solo.data.checks.images import (
    ImageJob,
    check_image,
    id_findings,
    measure_findings,
    same_box,
    size_findings,
    tiny_findings,
)
from effps_solo.structures.segment_measures import measure_segments


@pytest.mark.parametrize("ids", [np.zeros((3, 4), np.int32), np.zeros((0, 4), np.int32)])
def test_void_has_no_measures(ids: Any) -> None:
    measures = measure_segments(ids)
    assert len(measures.ids) == len(measures.areas) == 0 and measures.boxes.shape == (0, 4)
    assert [f.kind for f in id_findings("x", [], measures)] == ["nothing-labelled"]


def test_unusable_values_are_compared_with_nothing() -> None:
    measures = measure_segments(np.full((2, 2), 5))
    assert measure_findings("x", [Segment(5, 1, False, None, None)], measures) == []
    wrong = measure_findings("x", [Segment(5, None, True, 3, (1, 0, 2, 4))], measures)
    assert [f.kind for f in wrong] == ["wrong-area", "wrong-bbox"]


def test_boxes_agree_by_their_sides() -> None:
    assert same_box((10, 10, 20, 20), [11, 9, 18, 22])
    assert not same_box((10, 10, 20, 20), [10, 10, 22, 20])
    assert not same_box((10, 10, 20, 20), [8, 10, 22, 20])
    assert not same_box((10, 10, float("nan"), 20), [10, 10, 20, 20])


def test_unknown_sizes_agree_with_all() -> None:
    assert size_findings("x", {"image": (2, 3), "PNG": None, "JSON": (2, 3)}) == []
    assert size_findings("x", {"image": None, "PNG": None, "JSON": None}) == []
    (finding,) = size_findings("x", {"image": (2, 3), "PNG": (3, 2), "JSON": None})
    assert "image 3x2, PNG 2x3" in finding.text


def test_things_that_vanish() -> None:
    ids = np.zeros((8, 8), dtype=np.int32)
    ids[1, 1:3], ids[4, 4:8], ids[7, 0] = 300, 301, 302
    (finding,) = tiny_findings("x", ids, {300, 301, 302})
    assert finding.text.startswith("2 of 3 things")
    assert tiny_findings("x", ids, {300}) == [] and tiny_findings("x", ids, set()) == []


def test_copies_are_told_from_other_images_of_the_same_grey() -> None:
    rng = np.random.default_rng(0)
    others = rng.uniform(100, 140, (5, 192)).astype(np.float32)
    assert nearest_copy(others[3] + rng.uniform(-2, 2, 192), others) == 3
    assert nearest_copy(rng.uniform(100, 140, 192), others) is None
    assert nearest_copy(others[0], others[:0]) is None
    flat = np.full((1, 192), 20.0, dtype=np.float32)  # without contrast nothing can be told
    assert nearest_copy(flat[0] + 1, flat) is None and nearest_copy(flat[0], flat) == 0


def test_images_of_sixteen_bits_are_told_apart(tmp_path: Path) -> None:
    """As training sees them, by the upper byte."""
    results = []
    for value in (30000, 60000):
        path = tmp_path / f"{value}.png"
        Image.fromarray(np.full((8, 8), value, np.uint16)).save(path)
        results.append(check_image(ImageJob(path.name, "", str(path), None, None, None), {}))
    assert results[0].digest != results[1].digest and not results[0].findings
    assert results[0].thumbnail.max() == 30000 >> 8
