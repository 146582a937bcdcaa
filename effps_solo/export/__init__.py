"""Export of a trained model as one graph; :mod:`effps_solo.inference.exported` runs what it makes."""

from .graph import PanopticGraph
from .program import check_formats, describe, save, trace

__all__ = ["PanopticGraph", "check_formats", "describe", "save", "trace"]
