"""Export of a trained model as one graph; :mod:`effps_solo.runtime` runs what it makes."""

from .graph import PanopticGraph
from .program import check_formats, describe, save, trace

__all__ = ["PanopticGraph", "check_formats", "describe", "save", "trace"]
