"""The registry of instance heads."""

from typing import Dict

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry

from effps_solo.modeling.checks import registered

from .base import InstanceHead
from .no_instances import NoInstanceHead

INSTANCE_HEAD_REGISTRY = Registry("INSTANCE_HEAD")
INSTANCE_HEAD_REGISTRY.__doc__ = """
Instance heads by name. A head is a subclass of :class:`InstanceHead`, called with
``cfg, input_shape`` (the shapes of the neck's outputs by name).
"""


def build_instance_head(cfg: CfgNode, input_shape: Dict[str, ShapeSpec]) -> InstanceHead:
    """Build ``MODEL.INSTANCE_HEAD.NAME``; for 0 thing classes a :class:`NoInstanceHead`.

    ``MODEL.SOLOV2.PARITY`` makes PublishedSOLOv2InstanceHead of SOLOv2InstanceHead.

    Raises:
        ConfigError: no head has that name.
    """
    if cfg.MODEL.INSTANCE_HEAD.NUM_CLASSES == 0:
        return NoInstanceHead()
    name = cfg.MODEL.INSTANCE_HEAD.NAME
    if name == "SOLOv2InstanceHead" and cfg.MODEL.SOLOV2.PARITY:
        name = "PublishedSOLOv2InstanceHead"
    return registered(INSTANCE_HEAD_REGISTRY, "MODEL.INSTANCE_HEAD.NAME", name)(cfg, input_shape)
