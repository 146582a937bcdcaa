"""The registry of panoptic fusions."""

from detectron2.config import CfgNode
from detectron2.utils.registry import Registry

from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.utils.errors import ConfigError

from .base import PanopticFusion

PANOPTIC_FUSION_REGISTRY = Registry("PANOPTIC_FUSION")
PANOPTIC_FUSION_REGISTRY.__doc__ = """
Panoptic fusions by name: subclasses of :class:`PanopticFusion`, called with ``cfg, label_space``.
"""


def build_panoptic_fusion(cfg: CfgNode, label_space: PanopticLabelSpace) -> PanopticFusion:
    """Build ``MODEL.PANOPTIC_FUSION.NAME``. Raises ConfigError when no fusion has that name."""
    name = cfg.MODEL.PANOPTIC_FUSION.NAME
    if name not in PANOPTIC_FUSION_REGISTRY:
        known = sorted(key for key, _ in PANOPTIC_FUSION_REGISTRY)
        raise ConfigError(f"MODEL.PANOPTIC_FUSION.NAME is '{name}'; choose one of {known}")
    return PANOPTIC_FUSION_REGISTRY.get(name)(cfg, label_space)
