"""Training and set-up."""

from .distributed import launch
from .setup import check_device, load_config, read_config
from .trainer import Trainer

__all__ = ["Trainer", "check_device", "launch", "load_config", "read_config"]
