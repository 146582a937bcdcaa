"""Data: the panoptic mapper, geometry of objects, registration of data sets."""

from .mapper import AnnotationError, PanopticDatasetMapper

__all__ = ["AnnotationError", "PanopticDatasetMapper"]
