"""Ranges, grids and numbers of instances."""

from typing import Any, Dict

import pytest

from effps_solo.planning.frame import choose_frame
from effps_solo.planning.levels import (
    choose_levels,
    grids,
    level_choices,
    owners,
    scale_ranges,
)


def chosen(data: Any, crop: Any = (512, 512)) -> Dict[str, Any]:
    frame = choose_frame(data)
    choices = level_choices(data, frame, choose_levels(data, frame), crop)
    return {choice.key.split(".")[-1]: choice.value for choice in choices}


def test_ranges_are_octaves() -> None:
    assert scale_ranges(24) == [(1, 48), (24, 96), (48, 192), (96, 384), (192, 100000)]


def test_grids_have_cells_of_one_size() -> None:
    assert grids((384, 672), [8, 48]) == [(48, 84), (8, 14)]
    assert grids((32, 64), [100]) == [(1, 1)]


def test_a_common_case(make_data: Any) -> None:
    keys = chosen(make_data([(768, 768)], [[24, 48, 48, 48, 48, 48, 48, 48, 48, 96]]), (384, 384))
    assert keys["SCALE_RANGES"][0] == [
        1,
        88,
    ]  # the 10th percentile is 45.6, its multiple of 4 is 44
    assert keys["NUM_GRIDS"] == [[26, 26], [17, 17], [13, 13], [9, 9], [6, 6]]
    assert keys["TEST_NUM_GRIDS"] == [[52, 52], [35, 35], [26, 26], [17, 17], [12, 12]]
    assert keys["DETECTIONS_PER_IMAGE"] == 100 and keys["NMS_PRE"] == 500


@pytest.mark.parametrize(("side", "unit"), [(2, 8), (30, 32), (500, 96)])
def test_units_have_limits(make_data: Any, side: float, unit: int) -> None:
    keys = chosen(make_data([(1024, 1024)], [[side] * 3]))
    assert keys["SCALE_RANGES"][0] == [1, 2 * unit]
    finest = 512 / keys["NUM_GRIDS"][0][0]
    assert finest >= 4 and (unit > 12 or finest == 4)


def test_many_objects(make_data: Any) -> None:
    keys = chosen(make_data([(512, 512)], [[24] * 300]))
    assert keys["DETECTIONS_PER_IMAGE"] == 450 and keys["NMS_PRE"] == 1150


def test_grids_are_refined_until_objects_own_a_cell(make_data: Any) -> None:
    """60 large ones and 900 small ones on a pitch of 16: cells of 18 px and more would lose some."""
    sides = [8.0] * 1024
    data = make_data([(512, 512)], [sides])
    frame = choose_frame(data)
    assert owners(data.images, frame, grids((1024, 1024), [64] * 5), 16) < 0.5
    keys = chosen(data)
    shares = owners(data.images, frame, [tuple(g) for g in keys["TEST_NUM_GRIDS"]], 16)
    assert shares > 0.99


def test_owners_without_objects(make_data: Any) -> None:
    data = make_data([(64, 64)], [[]])
    assert owners(data.images, choose_frame(data), [(1, 1)] * 5, 8) == 1
