"""The configuration: every key, reading of files, and the registration of all that a config can name."""

from effps_solo.utils.requirements import require_detectron2

require_detectron2()

# Importing them fills Detectron2's registries with every part that a config can name.
from effps_solo.modeling import (  # noqa: E402, F401
    backbone,
    fusion,
    instance_head,
    meta_arch,
    panoptic_fpn,
    sem_seg_head,
)

from .defaults import add_effps_solo_config  # noqa: E402
from .setup import check_device, classes_of_data, load_config, read_config  # noqa: E402
from .values import check_values  # noqa: E402

__all__ = [
    "add_effps_solo_config",
    "check_device",
    "check_values",
    "classes_of_data",
    "load_config",
    "read_config",
]
