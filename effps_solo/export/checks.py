"""What cannot be exported, told before a network is built."""

from pathlib import Path
from typing import Sequence

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils.registry import Registry

from effps_solo.inference.exported.sessions import EXPORTED_SUFFIXES
from effps_solo.modeling.checks import registered
from effps_solo.modeling.fusion import PANOPTIC_FUSION_REGISTRY, AdaptiveFusion
from effps_solo.modeling.instance_head import INSTANCE_HEAD_REGISTRY
from effps_solo.modeling.instance_head.solov2 import (
    PublishedSOLOv2InstanceHead,
    SOLOv2InstanceHead,
)
from effps_solo.modeling.meta_arch import EfficientPS
from effps_solo.utils.errors import ConfigError

INT8_SUFFIXES = (".onnx", ".xml")


def check_formats(paths: Sequence[Path], int8: bool = False) -> None:
    """Raise ConfigError for a name that tells no format, or one that has no INT8."""
    for path in paths:
        if path.suffix not in EXPORTED_SUFFIXES:
            raise ConfigError(
                f"--output {path}: the name must end in {', '.join(EXPORTED_SUFFIXES)}"
            )
        if int8 and path.suffix not in INT8_SUFFIXES:
            raise ConfigError(f"--output {path}: --int8 is for {' and '.join(INT8_SUFFIXES)}")


def check_exportable(cfg: CfgNode) -> None:
    """Raise ConfigError, naming the key, where a part of the model is none that the graph has."""
    model = cfg.MODEL
    if not model.SEM_SEG_HEAD.NAME:
        raise ConfigError("MODEL.SEM_SEG_HEAD.NAME is ''; the graph needs a semantic head")
    if model.INSTANCE_HEAD.NUM_CLASSES == 0:
        raise ConfigError("the data set has no classes of things; such models cannot be exported")
    _check_kind("MODEL.META_ARCHITECTURE", model.META_ARCHITECTURE, META_ARCH_REGISTRY, EfficientPS)
    fusion, head = model.PANOPTIC_FUSION.NAME, model.INSTANCE_HEAD.NAME
    _check_kind("MODEL.PANOPTIC_FUSION.NAME", fusion, PANOPTIC_FUSION_REGISTRY, AdaptiveFusion)
    kind = _check_kind("MODEL.INSTANCE_HEAD.NAME", head, INSTANCE_HEAD_REGISTRY, SOLOv2InstanceHead)
    if model.SOLOV2.PARITY or issubclass(kind, PublishedSOLOv2InstanceHead):
        raise ConfigError(
            "MODEL.SOLOV2.PARITY is True, or the head the published one; neither can be exported"
        )


def _check_kind(key: str, name: str, registry: Registry, kind: type) -> type:
    found: type = registered(registry, key, name)
    if not issubclass(found, kind):
        raise ConfigError(f"{key} is {name}; only {kind.__name__} can be exported")
    return found
