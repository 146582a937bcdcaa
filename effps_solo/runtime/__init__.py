"""Exported models: reading and running them. Needs numpy, Pillow and the runtime of the file alone."""

from .description import ModelDescription
from .predictor import ExportedPredictor, load_exported

__all__ = ["ExportedPredictor", "ModelDescription", "load_exported"]
