"""Fills Detectron2's registries: importing this module imports every part that a config can name."""

from effps_solo.modeling import (
    backbone,
    fusion,
    instance_head,
    meta_arch,
    panoptic_fpn,
    sem_seg_head,
)

__all__ = ["backbone", "fusion", "instance_head", "meta_arch", "panoptic_fpn", "sem_seg_head"]
