"""The raw output of the SOLOv2 head. N images, T thing classes, D and E channels; h x w the stride-4 map."""

from dataclasses import dataclass
from typing import Iterator

import torch

from . import inference
from .grids import Cells, flatten_cells


@dataclass
class SOLOv2Output:
    """Raw output: category (N, cells, T) logits, kernels (N, cells, D), mask_features (N, E, h, w).

    Cells run over all levels, level-major, then row-major; h x w is the stride-4 map.
    """

    category: torch.Tensor
    kernels: torch.Tensor
    mask_features: torch.Tensor

    def of_images(self) -> Iterator["SOLOv2Output"]:
        """Of each image alone, N = 1."""
        if len(self.category) == 1:  # a split into one part costs runtimes a copy of the maps
            return iter([self])
        # Split with the channels last, as in memory: the maps' gradient is then put together so too.
        pixels = self.mask_features.permute(0, 2, 3, 1)
        parts = zip(self.category.split(1), self.kernels.split(1), pixels.split(1))
        return (SOLOv2Output(c, k, maps.permute(0, 3, 1, 2)) for c, k, maps in parts)


def cell_scores(output: SOLOv2Output, cells: Cells) -> torch.Tensor:
    """(N, cells, T) class probabilities after points NMS."""
    maps = []
    sizes = [rows * columns for rows, columns in cells.num_grids]
    for logits, grid in zip(output.category.split(sizes, 1), cells.num_grids):
        scores = logits.float().sigmoid().transpose(1, 2).unflatten(2, grid)
        maps.append(inference.points_nms(scores))
    return flatten_cells(maps)
