"""Exported models: reading and running them. Needs numpy, Pillow and the runtime of the file alone."""

from .description import ModelDescription
from .predictor import ExportedPredictor, load_exported
from .sessions import BACKENDS, EXPORTED_SUFFIXES, PRECISIONS, check_precision

__all__ = [
    "BACKENDS",
    "EXPORTED_SUFFIXES",
    "PRECISIONS",
    "ExportedPredictor",
    "ModelDescription",
    "check_precision",
    "load_exported",
]
