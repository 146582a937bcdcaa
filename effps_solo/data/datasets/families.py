"""Published data sets, a module each: metadata, and how panoptic annotations are made of the download.

Needs neither torch nor Detectron2; :mod:`~effps_solo.data.datasets.registration` registers them.
"""

from typing import Dict

from .ade20k import ADE20K
from .cityscapes import CITYSCAPES
from .coco import COCO
from .family import Family
from .idd import IDD
from .kitti import KITTI
from .vistas import VISTAS

__all__ = ["FAMILIES", "Family"]

FAMILIES: Dict[str, Family] = {
    family.name: family for family in (CITYSCAPES, COCO, KITTI, *VISTAS, IDD, ADE20K)
}
