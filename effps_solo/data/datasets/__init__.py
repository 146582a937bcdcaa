"""Data sets: where they lie, what their classes are, registration with Detectron2.

Nothing heavy is imported before it is used: the processes that prepare a data set need neither torch
nor Detectron2.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .availability import check_dataset_available
    from .files import DatasetError
    from .registration import register_datasets

__all__ = ["DatasetError", "check_dataset_available", "register_datasets"]

_MODULE_OF = {
    "DatasetError": ".files",
    "check_dataset_available": ".availability",
    "register_datasets": ".registration",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name], __name__), name)
