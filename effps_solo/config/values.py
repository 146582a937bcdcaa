"""Values that no training could use, told by their key before anything is built."""

from typing import Any, Callable, Tuple

from detectron2.config import CfgNode

from effps_solo.utils.errors import ConfigError

from .unused_keys import value_of


def check_values(cfg: CfgNode) -> None:
    """Raise ConfigError, with key and value, for the first value that is of no use; sees the config alone."""
    for keys, is_usable, wanted in _CHECKS:
        for key in keys.split():
            value = value_of(cfg, key)
            if not is_usable(value):
                raise ConfigError(f"{key} is {value!r}; it must be {wanted}")


def _are(value: Any, types: Tuple[type, ...], count: int) -> bool:
    return (
        isinstance(value, (list, tuple))
        and len(value) == count
        and all(isinstance(x, types) and not isinstance(x, bool) for x in value)
    )


def _is_range(value: Any) -> bool:
    return _are(value, (int, float), 2) and 0 < value[0] <= value[1]


def _is_size(value: Any) -> bool:
    return _are(value, (int,), 2) and min(value) > 0


_NOT_NEGATIVE = "SOLVER.EARLY_STOPPING_PATIENCE TEST.MAX_IMAGES TEST.VALIDATION_LOSS_IMAGES"
_CHECKS: Tuple[Tuple[str, Callable[[Any], bool], str], ...] = (
    ("SOLVER.MAX_ITER", lambda v: v >= 1, "1 or more"),
    (_NOT_NEGATIVE, lambda v: v >= 0, "0 or more"),
    ("INPUT.CROP_SIZE", _is_size, "two positive whole numbers, height and width"),
    ("INPUT.SCALE_RANGE", _is_range, "two positive numbers, the smaller one first"),
    ("INPUT.TEST_SCALE", lambda v: v > 0, "a positive number"),
    ("TEST.BOUNDARY_RATIO", lambda v: 0 < v <= 1, "above 0 and at most 1"),
    ("INPUT.FORMAT", lambda v: v in ("RGB", "BGR"), "RGB or BGR"),
    ("MODEL.PIXEL_MEAN", lambda v: _are(v, (int, float), 3), "three numbers"),
    (
        "MODEL.PIXEL_STD",
        lambda v: _are(v, (int, float), 3) and min(v) > 0,
        "three positive numbers",
    ),
    (
        "MODEL.SOLOV2.NUM_GRIDS MODEL.SOLOV2.TEST_NUM_GRIDS",
        lambda v: all(map(_is_size, v)),
        "a pair of positive whole numbers, rows and columns, for every level: [[12, 24], ...]",
    ),
)
