"""The configuration: every key, reading of files, and the registration of all that a config can name."""

from effps_solo.utils.requirements import require_detectron2

require_detectron2()

from . import registration  # noqa: E402, F401
from .defaults import add_effps_solo_config  # noqa: E402
from .setup import check_device, load_config, read_config  # noqa: E402

__all__ = ["add_effps_solo_config", "check_device", "load_config", "read_config"]
