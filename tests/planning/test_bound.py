"""What a perfect network loses by a plan."""

from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog

from effps_solo.config import load_config
from effps_solo.planning.bound import Bound, bound

NO_CELL = ["MODEL.SOLOV2.SCALE_RANGES", "[[1, 2], [1, 2], [1, 2], [1, 2], [1, 2]]"]
NO_STUFF = ["MODEL.PANOPTIC_FUSION.STUFF_AREA_FRACTION", "0.9"]


def of(config: Path, *overrides: str) -> Bound:
    cfg = load_config(str(config), overrides)
    return bound(cfg, DatasetCatalog.get("tiny_train"))


def test_rectangles_lose_nothing(tiny_config: Path) -> None:
    found = of(tiny_config)
    assert found.pq == found.pq_without_grids == found.pq_without_stuff_limit > 95
    assert "loses 0.0 by objects without a cell of their own, 0.0 by the smallest" in str(found)


def test_objects_without_a_cell(tiny_config: Path) -> None:
    found = of(tiny_config, *NO_CELL)
    assert found.pq_things == 0 and found.pq < 60
    assert found.pq_without_grids == of(tiny_config).pq


def test_regions_below_the_limit(tiny_config: Path) -> None:
    found = of(tiny_config, *NO_STUFF)
    assert found.pq_stuff == 0 and found.pq == found.pq_without_grids
    assert found.pq_without_stuff_limit == of(tiny_config).pq


def test_a_group_without_classes_is_not_told() -> None:
    text = str(Bound(90.0, 90.0, float("nan"), 91.0, 91.5))
    assert "PQ 90.0 (90.0 in things) on" in text and "loses 1.0 by" in text and "0.5 by" in text
    with pytest.raises(AttributeError):
        Bound(1, 1, 1, 1, 1).pq = 2  # type: ignore[misc]
