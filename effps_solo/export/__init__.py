"""Export of a trained model as one graph; :mod:`effps_solo.inference.exported` runs what it makes."""

from .checks import check_formats
from .graph import PanopticGraph
from .program import describe, save, trace
from .verification import compared_with_torch

__all__ = ["PanopticGraph", "check_formats", "compared_with_torch", "describe", "save", "trace"]
