"""Checks of the parts of a network, which may be a user's own."""

from typing import Any, Dict, Optional, Tuple

import torch
from detectron2.utils.registry import Registry
from torch import nn

from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.utils.errors import ConfigError

from .upsampling import STRIDE


def registered(registry: Registry, key: str, name: str) -> Any:
    """The class ``name`` of a registry. Raises ConfigError, which names ``key``, where there is none."""
    if name not in registry:
        known = sorted(key for key, _ in registry)
        raise ConfigError(
            f"{key} is '{name}'; choose one of {known}, or set DETECTRON2_ENV_MODULE to the file that "
            "registers it"
        )
    return registry.get(name)


def check_class_counts(
    sem_seg_head: Optional[nn.Module], instance_head: nn.Module, label_space: PanopticLabelSpace
) -> None:
    """Raise ConfigError where a head has not as many classes as the data set, or nothing is to be learnt."""
    counts = [("INSTANCE_HEAD", instance_head, "thing classes", label_space.num_things)]
    if sem_seg_head is not None:
        counts.append(("SEM_SEG_HEAD", sem_seg_head, "classes", label_space.num_classes))
    for node, head, what, actual in counts:
        name = type(head).__name__
        if not isinstance(getattr(head, "num_classes", None), int):
            raise ConfigError(f"{name} has no attribute num_classes, the number of its classes")
        if head.num_classes != actual:
            raise ConfigError(
                f"MODEL.{node}.NUM_CLASSES is {head.num_classes} ({name}.num_classes), but the data set "
                f"has {actual} {what}; set it to {actual}, or to -1 to take it from the data"
            )
    if sem_seg_head is None and label_space.num_things == 0:
        raise ConfigError(
            "the data set has no thing classes, and without a semantic head (MODEL.SEM_SEG_HEAD.NAME "
            "is '') there is nothing to learn; name a semantic head"
        )


def check_logits(head: Any, logits: torch.Tensor, padded_size: Tuple[int, int]) -> None:
    """Raise ValueError unless logits are (N, C, Hp/4, Wp/4), as :class:`SemanticHead` says."""
    expected = (head.num_classes, padded_size[0] // STRIDE, padded_size[1] // STRIDE)
    if tuple(logits.shape[1:]) != expected:
        raise ValueError(
            f"{type(head).__name__} gave logits of {tuple(logits.shape)} for images of {padded_size}; "
            f"a semantic head gives (N, {expected[0]}, {expected[1]}, {expected[2]}), at stride {STRIDE}"
        )


def check_losses(losses: Dict[str, Any]) -> None:
    """Raise ValueError unless every loss is a scalar tensor."""
    for name, loss in losses.items():
        if not isinstance(loss, torch.Tensor) or loss.dim() > 0:
            what = tuple(loss.shape) if isinstance(loss, torch.Tensor) else type(loss).__name__
            raise ValueError(
                f"'{name}' is no scalar but {what}: a head returns one number for each loss"
            )
