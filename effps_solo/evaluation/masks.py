"""Masks of instances on their way to the evaluators, which take them one by one."""

from typing import Any, Dict, List, Tuple, Union

import numpy as np
import pycocotools.mask as mask_util
import torch
from torch import nn

from effps_solo.inference.test_time_augmentation import EfficientPSWithTTA
from effps_solo.modeling.meta_arch import EfficientPS
from effps_solo.modeling.postprocessing import WindowedMasks


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


def rles(masks: Union[WindowedMasks, torch.Tensor]) -> List[Dict[str, Any]]:
    """COCO's compressed run lengths of K masks in their frame, for JSON.

    Args:
        masks: (K, H, W) bool; of :class:`WindowedMasks` the windows alone are looked at.
    """
    if isinstance(masks, WindowedMasks):
        return [
            rle_in_frame(mask.numpy(), (rows.start, columns.start), masks.size)
            for mask, (rows, columns) in zip(masks.masks, masks.windows)
        ]
    return [rle_in_frame(mask, (0, 0), mask.shape) for mask in masks.cpu().numpy()]


def rle_in_frame(
    mask: np.ndarray, corner: Tuple[int, int], size: Tuple[int, int]
) -> Dict[str, Any]:
    """COCO's compressed run lengths of a frame that is empty but for a part of it.

    Args:
        mask: (h, w) bool, that part.
        corner: row and column of its first pixel.
        size: (H, W) of the frame.

    Returns:
        {"size": [H, W], "counts": str}, what pycocotools makes of the frame.
    """
    height, width = size
    # Down the columns, with nothing above and below: where runs begin, and behind which they end.
    columns = np.zeros((mask.shape[1], mask.shape[0] + 2), dtype=np.int8)
    columns[:, 1:-1] = mask.T
    column, row = np.nonzero(np.diff(columns, axis=1))
    bounds = (corner[1] + column) * height + corner[0] + row
    # A run to the foot of the frame goes on at the head of the next column.
    ends = np.flatnonzero(bounds[1:-1:2] == bounds[2::2]) * 2 + 1
    bounds = np.delete(bounds, [ends, ends + 1])
    counts = np.diff(np.concatenate([[0], bounds, [height * width]])).tolist()
    if counts[-1] == 0:
        counts.pop()
    rle = mask_util.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return {"size": [height, width], "counts": rle["counts"].decode()}
