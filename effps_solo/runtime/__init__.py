"""Exported models: reading and running them. Needs numpy, Pillow and the runtime of the file alone."""

from .description import ModelDescription
from .predictor import ExportedPredictor, load_exported
from .sessions import BACKENDS, EXPORTED_SUFFIXES

__all__ = [
    "BACKENDS",
    "EXPORTED_SUFFIXES",
    "ExportedPredictor",
    "ModelDescription",
    "load_exported",
]
