"""The registry of panoptic fusions."""

from detectron2.config import CfgNode
from detectron2.utils.registry import Registry

from effps_solo.modeling.checks import registered
from effps_solo.structures.label_space import PanopticLabelSpace

from .base import PanopticFusion

PANOPTIC_FUSION_REGISTRY = Registry("PANOPTIC_FUSION")
PANOPTIC_FUSION_REGISTRY.__doc__ = """
Panoptic fusions by name: subclasses of :class:`PanopticFusion`, called with ``cfg, label_space``.
"""


def build_panoptic_fusion(cfg: CfgNode, label_space: PanopticLabelSpace) -> PanopticFusion:
    """Build ``MODEL.PANOPTIC_FUSION.NAME``. Raises ConfigError when no fusion has that name."""
    name = cfg.MODEL.PANOPTIC_FUSION.NAME
    return registered(PANOPTIC_FUSION_REGISTRY, "MODEL.PANOPTIC_FUSION.NAME", name)(
        cfg, label_space
    )
