"""What a panoptic network returns at inference: the keys of its output dicts."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import nn

from effps_solo.utils.errors import ConfigError

OUTPUTS = ("panoptic_seg", "sem_seg", "instances")


@dataclass(frozen=True)
class FusionThresholds:
    """What decides whether an instance or a stuff segment is in the panoptic map.

    Attributes:
        score: instances below it are left out.
        overlap: an instance of which a larger fraction is taken already is left out.
        stuff_area: stuff classes that cover a smaller fraction of the image become void.
    """

    score: float = 0.5
    overlap: float = 0.5
    stuff_area: float = 2048 / (1024 * 2048)


class Unfused(NamedTuple):
    """What the heads say of one image, for as many fusions as one likes.

    Attributes:
        scores: (K,) of the instances, in descending order.
        fuse: thresholds -> "panoptic_seg" of the image, see :meth:`PanopticNetwork.inference`.
    """

    scores: torch.Tensor
    fuse: Callable[[FusionThresholds], Tuple[torch.Tensor, List[Dict[str, Any]]]]


class PanopticNetwork(nn.Module, ABC):
    """A network whose outputs and thresholds are arguments of its inference.

    Attributes:
        things_share_a_channel: see :func:`.class_channels.class_channels`.
    """

    things_share_a_channel = False

    @abstractmethod
    def inference(
        self,
        batched_inputs: List[Dict[str, Any]],
        *,
        outputs: Optional[Sequence[str]] = None,
        thresholds: Optional[FusionThresholds] = None,
        whole_masks: bool = True,
    ) -> List[Dict[str, Any]]:
        """Predictions of each image.

        Args:
            batched_inputs: N dicts in Detectron2's format, see :meth:`EfficientPS.forward`.
            outputs: what to make, of :data:`OUTPUTS`; None: the network's own.
            thresholds: of the fusion; None: the network's own.
            whole_masks: see :func:`.postprocessing.instances_to_output`.

        Returns:
            N dicts with the keys ``outputs``.
        """

    @abstractmethod
    def unfused(
        self, batched_inputs: List[Dict[str, Any]], *, min_score: float = 0.0
    ) -> List[Unfused]:
        """The heads of each image without the fusion, which needs a semantic head.

        Args:
            batched_inputs: see :meth:`inference`.
            min_score: lowest score threshold of the fusions to come.
        """


def output_size_of(x: Dict[str, Any], image_size: Tuple[int, int]) -> Tuple[int, int]:
    """(H, W) of the output that an input dict asks for; that of the network's image by default."""
    return int(x.get("height", image_size[0])), int(x.get("width", image_size[1]))


def check_outputs(outputs: Sequence[str], sem_seg_head: Optional[nn.Module]) -> None:
    """Raise ConfigError for an output that is unknown or needs the semantic head that is missing."""
    unknown = sorted(set(outputs) - set(OUTPUTS))
    if unknown:
        raise ConfigError(f"MODEL.OUTPUTS names {unknown}; choose from {OUTPUTS}")
    if sem_seg_head is None and list(outputs) != ["instances"]:
        raise ConfigError(
            f"MODEL.OUTPUTS is {list(outputs)}, but without a semantic head (MODEL.SEM_SEG_HEAD.NAME "
            "is '') it must be ['instances']"
        )
