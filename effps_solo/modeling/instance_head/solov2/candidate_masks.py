"""The masks of the candidates of an image: what decides about them, and the few that stay as a whole.

K candidates; h x w the stride-4 map without padding.
"""

from abc import ABC, abstractmethod
from typing import Tuple

import torch

from effps_solo.modeling.detections import boxes_from_masks
from effps_solo.modeling.execution import works_in_parts
from effps_solo.modeling.upsampling import Size

from . import inference
from .dynamic_masks import DynamicMasks
from .inference import MaskMeasures


class CandidateMasks(ABC):
    """The masks of (K,) candidates, which may share cells."""

    @abstractmethod
    def measures(self) -> MaskMeasures:
        """Of all candidates."""

    @abstractmethod
    def maps(self, chosen: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """Of (k,) candidates the logits (k, h, w) in at least fp32, and the boxes of their points above 0.

        Boxes are (k, 4) float XYXY in points, zeros where a mask is empty. Logits more than two points
        away from a mask may be any number below 0.
        """


class WholeMasks(CandidateMasks):
    """All at once; see :mod:`effps_solo.modeling.execution`."""

    def __init__(self, masks: DynamicMasks, cells: torch.Tensor, size: Size) -> None:
        logits = masks.of(cells).logits()[:, : size[0], : size[1]]
        self._logits = logits.to(torch.promote_types(logits.dtype, torch.float32))

    def measures(self) -> MaskMeasures:
        """See :meth:`CandidateMasks.measures`."""
        return inference.measure_whole_masks(self._logits)

    def maps(self, chosen: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """See :meth:`CandidateMasks.maps`."""
        logits = self._logits[chosen]
        return logits, boxes_from_masks(logits > 0)


class TiledMasks(CandidateMasks):
    """Tile by tile, each with the masks that may reach into it; the mask of a cell is measured once."""

    def __init__(self, masks: DynamicMasks, cells: torch.Tensor, size: Size) -> None:
        cells, self._row = cells.unique(return_inverse=True)
        self._masks, self._size = masks.of(cells), size
        self._reach = self._masks.reach()

    def measures(self) -> MaskMeasures:
        """See :meth:`CandidateMasks.measures`."""
        found = inference.measure_masks_by_tiles(self._masks.logits, self._reach, self._size)
        row = self._row
        intersections = found.intersections[row[:, None], row]
        return MaskMeasures(found.areas[row], found.maskness[row], intersections)

    def maps(self, chosen: torch.Tensor) -> Tuple[torch.Tensor, torch.Tensor]:
        """See :meth:`CandidateMasks.maps`."""
        row = self._row[chosen]
        return self._masks.whole(row, self._reach[row], self._size)


def candidate_masks(masks: DynamicMasks, cells: torch.Tensor, size: Size) -> CandidateMasks:
    """The masks of (K,) ``cells`` in the (h, w) of ``size``; what lies beyond is padding."""
    return (TiledMasks if works_in_parts(cells) else WholeMasks)(masks, cells, size)
