"""Registration of data sets with Detectron2: one file a family."""

from .availability import check_dataset_available
from .files import DatasetError
from .registration import register_datasets

__all__ = ["DatasetError", "check_dataset_available", "register_datasets"]
