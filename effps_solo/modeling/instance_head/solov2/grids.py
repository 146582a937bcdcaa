"""The grids of SOLOv2: checks, layout of the cells, geometry; pure functions.

L levels with S_h x S_w cells each; cells run level-major, then row-major.
"""

from typing import Dict, List, Sequence, Tuple

import torch
from detectron2.layers import ShapeSpec
from torch import nn

from effps_solo.modeling.upsampling import STRIDE
from effps_solo.utils.errors import ConfigError

from .position_prior import base_extents

Grids = Sequence[Tuple[int, int]]


def check_levels(
    in_features: Sequence,
    num_grids: Sequence,
    test_num_grids: Sequence,
    scale_ranges: Sequence,
) -> None:
    """Raise ConfigError unless every level has a feature, two grids and a usable scale range."""
    if not len(in_features) == len(num_grids) == len(test_num_grids) == len(scale_ranges):
        raise ConfigError(
            "one grid and one scale range per level: MODEL.INSTANCE_HEAD.IN_FEATURES has "
            f"{len(in_features)} entries, MODEL.SOLOV2.NUM_GRIDS {len(num_grids)}, "
            f"MODEL.SOLOV2.TEST_NUM_GRIDS {len(test_num_grids)}, "
            f"MODEL.SOLOV2.SCALE_RANGES {len(scale_ranges)}"
        )

    check_scale_ranges(scale_ranges)


def check_scale_ranges(scale_ranges: Sequence) -> None:
    """Raise ConfigError for a range that is empty, and for sizes between two ranges that no level learns."""
    ranges = sorted((float(low), float(high)) for low, high in scale_ranges)
    reached = ranges[0][0]
    for low, high in ranges:
        if low > high:
            raise ConfigError(f"MODEL.SOLOV2.SCALE_RANGES: the range [{low:g}, {high:g}] is empty")
        if low > reached:
            raise ConfigError(
                f"MODEL.SOLOV2.SCALE_RANGES: no level learns objects between {reached:g} and {low:g} px; "
                "let each range begin where another has not ended"
            )
        reached = max(reached, high)


def check_mask_features(
    mask_in_features: Sequence[str], input_shape: Dict[str, ShapeSpec], consecutive: bool
) -> None:
    """Raise ConfigError unless the mask branch begins at stride 4, and misses no level if ``consecutive``."""
    strides = [input_shape[name].stride for name in mask_in_features]
    wanted = [STRIDE * 2**level for level in range(len(strides))]
    if strides[:1] != [STRIDE] or (consecutive and strides != wanted):
        raise ConfigError(
            f"MODEL.SOLOV2.MASK_IN_FEATURES {list(mask_in_features)} have strides {strides}; they must "
            f"begin at stride {STRIDE}" + (" and double" if consecutive else "")
        )


def resampled_strides(strides: Sequence[int]) -> List[int]:
    """Strides after the published resampling, which halves the first level and doubles the last.

    8, 8, 16, 32, 32 for p2 .. p6.
    """
    return [2 * strides[0], *strides[1:-1], strides[-1] // 2]


def per_cell(num_grids: Grids, values: Sequence[float]) -> torch.Tensor:
    """(cells,) the value of each cell's level."""
    return torch.cat([torch.full((h * w,), value) for (h, w), value in zip(num_grids, values)])


def flatten_cells(levels: List[torch.Tensor]) -> torch.Tensor:
    """List of (N, C, S_h, S_w) -> (N, cells, C), contiguous, as the channels are last in memory."""
    return torch.cat([x.permute(0, 2, 3, 1).flatten(1, 2) for x in levels], dim=1)


def cell_geometry(
    num_grids: Grids, scale_ranges: Sequence[Tuple[float, float]]
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Centres (cells, 2) x, y as fractions of the frame, and the prior's extents (cells,) in px."""
    centers = []
    for rows, columns in num_grids:
        y, x = torch.meshgrid(
            (torch.arange(rows) + 0.5) / rows,
            (torch.arange(columns) + 0.5) / columns,
            indexing="ij",
        )
        centers.append(torch.stack([x, y], dim=-1).flatten(0, 1))
    return torch.cat(centers), per_cell(num_grids, base_extents(scale_ranges))


class Cells(nn.Module):
    """The cells of all levels, and what does not change from image to image.

    Attributes:
        num_grids: (S_h, S_w) per level.
        scale_ranges: (low, high) per level in pixels.
        centers, extents: see :func:`cell_geometry`.
        strides: (cells,) of the features behind each cell.
    """

    def __init__(
        self,
        num_grids: Grids,
        scale_ranges: Sequence[Tuple[float, float]],
        strides: Sequence[int],
    ) -> None:
        """
        Args:
            num_grids, scale_ranges, strides: one per level.
        """
        super().__init__()
        self.num_grids = [(int(h), int(w)) for h, w in num_grids]
        self.scale_ranges, self._strides = scale_ranges, strides
        centers, extents = cell_geometry(self.num_grids, scale_ranges)
        self.register_buffer("centers", centers, persistent=False)
        self.register_buffer("extents", extents, persistent=False)
        self.register_buffer("strides", per_cell(self.num_grids, strides), persistent=False)

    def scaled(self, factor: float) -> "Cells":
        """Cells in ``factor`` times as many rows and columns, rounded, on the same device."""
        if factor == 1:
            return self
        grids = [(max(1, round(h * factor)), max(1, round(w * factor))) for h, w in self.num_grids]
        return Cells(grids, self.scale_ranges, self._strides).to(self.centers.device)
