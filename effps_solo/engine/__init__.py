"""Training and set-up."""

from .setup import check_device, load_config, read_config
from .trainer import Trainer

__all__ = ["Trainer", "check_device", "load_config", "read_config"]
