"""Training and set-up."""

from .setup import load_config
from .trainer import Trainer

__all__ = ["Trainer", "load_config"]
