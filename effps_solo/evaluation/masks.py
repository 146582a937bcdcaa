"""Masks of instances on their way to the evaluators, which take them one by one."""

from typing import Any, Dict, List, Union

from torch import nn

from effps_solo.inference.test_time_augmentation import EfficientPSWithTTA
from effps_solo.modeling.meta_arch import EfficientPS


class _WithWindowedMasks(nn.Module):
    def __init__(self, model: Union[EfficientPS, EfficientPSWithTTA]) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def forward(self, batched_inputs: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
        return self.model.inference(batched_inputs, whole_masks=False)


def with_windowed_masks(model: nn.Module) -> nn.Module:
    """``model`` for an evaluation: its pred_masks are :class:`WindowedMasks`, no (K, H, W) tensor.

    A hundred masks of 1024 x 2048 pixels are 200 MB. Models that have no such masks stay as they are.
    """
    has_windows = isinstance(model, (EfficientPS, EfficientPSWithTTA))
    return _WithWindowedMasks(model) if has_windows else model
