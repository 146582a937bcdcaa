"""Values of no use are refused with their key."""

from pathlib import Path
from typing import Any

import pytest
from detectron2.config import get_cfg

from effps_solo.config.defaults import add_effps_solo_config
from effps_solo.config.files import load_config_file
from effps_solo.config.values import check_values
from effps_solo.utils.errors import ConfigError


@pytest.mark.parametrize(
    "key, value",
    [
        ("SOLVER.MAX_ITER", 0),
        ("SOLVER.EARLY_STOPPING_PATIENCE", -1),
        ("TEST.MAX_IMAGES", -5),
        ("MODEL.SOLOV2.NUM_GRIDS", [12, 16, 8, 6, 4]),
        ("MODEL.SOLOV2.TEST_NUM_GRIDS", [[12, 0]]),
        ("INPUT.CROP_SIZE", (0, 0)),
        ("INPUT.CROP_SIZE", (-96, 128)),
        ("INPUT.CROP_SIZE", (96,)),
        ("MODEL.PIXEL_MEAN", [127.5]),
        ("MODEL.PIXEL_STD", [1.0, 0.0, 1.0]),
        ("INPUT.TEST_SCALE", 0.0),
        ("INPUT.SCALE_RANGE", (-1.0, 0.5)),
        ("INPUT.SCALE_RANGE", (2.0, 0.5)),
        ("INPUT.FORMAT", "GRAY"),
    ],
)
def test_the_key_is_named(key: str, value: Any) -> None:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    check_values(cfg)  # the defaults are of use
    cfg.merge_from_list([key, value])
    with pytest.raises(ConfigError, match=rf"^{key} is .*; it must be "):
        check_values(cfg)


def test_every_config_of_the_project_is_of_use(project_root: Path) -> None:
    files = sorted((project_root / "configs").glob("*/*.yaml"))
    assert len(files) > 10
    for file in files:
        cfg = get_cfg()
        add_effps_solo_config(cfg)
        load_config_file(cfg, str(file))
        check_values(cfg)
