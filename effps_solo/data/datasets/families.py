"""Published data sets, a module each: metadata, and how panoptic annotations are made of the download.

Needs neither torch nor Detectron2; :mod:`~effps_solo.data.datasets.registration` registers them.
"""

from typing import Dict, Optional, Tuple

from .ade20k import ADE20K
from .cityscapes import CITYSCAPES
from .coco import COCO
from .family import Family
from .idd import IDD
from .kitti import KITTI
from .vistas import VISTAS

__all__ = ["FAMILIES", "Family", "family_of"]

FAMILIES: Dict[str, Family] = {
    family.name: family for family in (CITYSCAPES, COCO, KITTI, *VISTAS, IDD, ADE20K)
}


def family_of(dataset: str) -> Optional[Tuple[Family, str]]:
    """The family and split of a name in Detectron2's catalogs; None: no published data set."""
    for family in FAMILIES.values():
        for split in family.splits:
            if family.dataset_name(split) == dataset:
                return family, split
    return None
