"""Masks that a network predicts in a small grid over a box, as Mask R-CNN does.

Equal to Detectron2's pasting; the released EfficientPS interpolates logits, not probabilities, and
so gets larger objects.

K instances, S x S cells over each box.
"""

from typing import Tuple

import torch
import torch.nn.functional as F

from effps_solo.modeling.instance_head.base import Index, MaskSource, Window
from effps_solo.modeling.upsampling import STRIDE

# Probabilities are cut to [EPSILON, 1 - EPSILON]: outside its box an instance has logit -9.2.
EPSILON = 1e-4
# The logit of probability 0.5, which Detectron2 counts as inside.
JUST_INSIDE = 1e-7


class PastedMasks(MaskSource):
    """Mask probabilities pasted into their boxes by the rule of Detectron2's paste_masks_in_image.

    Probabilities are interpolated and turned into logits afterwards: the other way round a confident
    cell would push the border into its neighbour.
    """

    def __init__(self, probabilities: torch.Tensor, boxes: torch.Tensor) -> None:
        """
        Args:
            probabilities: (K, S, S) in [0, 1], row-major over the box.
            boxes: (K, 4) XYXY in pixels of the network input, none of them empty.
        """
        self.probabilities = probabilities
        self.boxes = boxes

    def __len__(self) -> int:
        return len(self.probabilities)

    def __getitem__(self, index: Index) -> "PastedMasks":
        return PastedMasks(self.probabilities[index], self.boxes[index])

    def to(self, *args: object, **kwargs: object) -> "PastedMasks":
        """The masks on another device, as ``Instances.to`` wants."""
        boxes = self.boxes.to(*args, **kwargs)
        return PastedMasks(self.probabilities.to(*args, **kwargs), boxes)

    def logits(self, k: int, window: Window, size: Tuple[int, int]) -> torch.Tensor:
        return _pasted(self.probabilities[k : k + 1], self.boxes[k : k + 1], window, size)[0]

    def frame_logits(self, image_size: Tuple[int, int], size: Tuple[int, int]) -> torch.Tensor:
        window = (0, 0, image_size[1], image_size[0])
        return _pasted(self.probabilities, self.boxes, window, size)

    def stride4_logits(self, size: Tuple[int, int]) -> torch.Tensor:
        boxes, probabilities = self.boxes.float(), self.probabilities.float()
        cells = probabilities.shape[-1]
        # Bilinear interpolation of all the masks at once: one factor for the rows, one for the
        # columns.
        rows, columns = (
            _bilinear_weights(_relative_centers(0, STRIDE * length, length, edges), cells)
            for length, edges in zip(size, (boxes[:, 1::2], boxes[:, 0::2]))
        )
        # In the low precision of autocast a probability of 0.999 is 1, and its logit infinite.
        with torch.autocast(boxes.device.type, enabled=False):
            return _to_logits(rows @ probabilities @ columns.transpose(1, 2))


def _pasted(
    probabilities: torch.Tensor, boxes: torch.Tensor, window: Window, size: Tuple[int, int]
) -> torch.Tensor:
    """(n, S, S) over (n, 4) boxes -> (n, h, w) logits in a window."""
    x0, y0, x1, y1 = window
    boxes = boxes.float()
    y = _relative_centers(y0, y1, size[0], boxes[:, 1::2])[:, :, None].expand(-1, -1, size[1])
    x = _relative_centers(x0, x1, size[1], boxes[:, 0::2])[:, None].expand(-1, size[0], -1)
    sampled = F.grid_sample(
        probabilities[:, None].float(),
        torch.stack([x, y], dim=-1),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    return _to_logits(sampled[:, 0])


def _relative_centers(start: float, stop: float, count: int, edges: torch.Tensor) -> torch.Tensor:
    """The centres of ``count`` equal cells of [start, stop] relative to boxes, whose edges are +-1.

    Computed in units of the cells, in the order of Detectron2's operations: the masks agree to the
    bit.

    Args:
        edges: (K, 2), the first and last position of each box.

    Returns:
        (K, count).
    """
    cells_per_pixel = count / (stop - start)
    index = torch.arange(count, device=edges.device, dtype=torch.float32)
    centers = index + (start * cells_per_pixel + 0.5)
    low, high = (edges * cells_per_pixel).split(1, dim=-1)
    return (centers - low) / (high - low) * 2 - 1


def _bilinear_weights(relative: torch.Tensor, cells: int) -> torch.Tensor:
    """(K, n) positions in a box -> (K, n, cells) weights of the cells; outside there are zeros."""
    position = ((relative + 1) * cells - 1) / 2
    index = torch.arange(cells, device=relative.device, dtype=relative.dtype)
    return (1 - (position[..., None] - index).abs()).clamp(min=0)


def _to_logits(probabilities: torch.Tensor) -> torch.Tensor:
    logits = probabilities.clamp(EPSILON, 1 - EPSILON).logit()
    return logits.masked_fill(probabilities == 0.5, JUST_INSIDE)
