"""The command ``oracle`` on a tiny set."""

import re
from pathlib import Path

import pytest

from effps_solo.__main__ import main

pytestmark = pytest.mark.usefixtures("fresh_loggers")


def printed_pq(output: str) -> float:
    found = re.search(r"^\W*All\W+([\d.]+)", output, re.MULTILINE)
    assert found, output
    return float(found[1])


@pytest.mark.parametrize("masks", ["soft", "binary"])
def test_large_rectangles_are_nearly_perfect(
    tiny_config: Path, capfd: pytest.CaptureFixture, masks: str
) -> None:
    # All edges lie on multiples of 4, so that even one bit for each 4 x 4 block is enough.
    assert main(["oracle", "--config-file", str(tiny_config), "--masks", masks]) == 0
    output = "".join(capfd.readouterr())
    assert "PQ" in output and "person" in output
    assert printed_pq(output) > 95
    # A trained model's evaluation stays what it is.
    assert [f.name for f in (tiny_config.parent / "output").iterdir()] == ["oracle"]


def test_a_scale_range_that_misses_the_things_lowers_the_bound(
    tiny_config: Path, capfd: pytest.CaptureFixture
) -> None:
    nothing = "[[1, 2], [1, 2], [1, 2], [1, 2], [1, 2]]"
    words = ["--opts", "MODEL.SOLOV2.SCALE_RANGES", nothing]
    assert main(["oracle", "--config-file", str(tiny_config), *words]) == 0
    assert printed_pq("".join(capfd.readouterr())) < 60


def test_missing_data(tiny_config: Path, capfd: pytest.CaptureFixture) -> None:
    words = ["--opts", "DATASETS.PANOPTIC.ROOT", "nowhere"]
    assert main(["oracle", "--config-file", str(tiny_config), *words]) == 2
    assert "'nowhere' is not a folder" in capfd.readouterr().err
