"""Training."""

from .announcement import announce
from .console import start_log, start_run
from .distributed import launch, on_main_process
from .trainer import Trainer

__all__ = ["Trainer", "announce", "launch", "on_main_process", "start_log", "start_run"]
