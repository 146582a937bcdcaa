"""The machine and a step on it."""

from pathlib import Path

import pytest

from effps_solo.planning.machine import measure_step, this_machine
from effps_solo.utils.errors import UserError


def test_this_machine() -> None:
    free, limited = this_machine(), this_machine(1e6)
    assert free.num_cores >= 1 and free.memory > 1e8 and free.name
    assert limited.memory == 1e6


def test_a_step_is_measured_without_a_trace(tiny_config: Path) -> None:
    before = sorted(tiny_config.parent.rglob("*"))
    cost = measure_step(str(tiny_config.parent), tiny_config.read_text())
    assert 0 < cost.seconds < 600 and 1e7 < cost.memory < 1e11
    assert sorted(tiny_config.parent.rglob("*")) == before


def test_a_config_that_cannot_be_used(tiny_config: Path) -> None:
    text = tiny_config.read_text().replace("tiny_train", "missing_train")
    with pytest.raises(UserError, match="missing_train"):
        measure_step(str(tiny_config.parent), text)
