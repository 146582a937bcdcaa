"""Writers of labels by the name of their format."""

from pathlib import Path
from typing import Dict, Sequence, Type

from effps_solo.structures.classes import PanopticClass

from . import FORMATS
from .base import LabelWriter
from .coco import CocoWriter
from .cvat import CvatWriter
from .labelme import LabelmeWriter

_WRITERS: Dict[str, Type[LabelWriter]] = dict(zip(FORMATS, (LabelmeWriter, CocoWriter, CvatWriter)))


def build_label_writer(
    name: str, folder: Path, classes: Sequence[PanopticClass], tolerance: float
) -> LabelWriter:
    """The writer of a format of ``FORMATS``; for the arguments see :class:`LabelWriter`."""
    return _WRITERS[name](folder, classes, tolerance)
