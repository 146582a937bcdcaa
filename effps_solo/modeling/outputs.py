"""What a panoptic network returns at inference: the keys of its output dicts."""

from typing import Any, Dict, Optional, Sequence, Tuple

from torch import nn

from effps_solo.utils.errors import ConfigError

OUTPUTS = ("panoptic_seg", "sem_seg", "instances")


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
