"""Full-resolution masks of all objects of an image in the memory of one map.

H x W pixels, M objects.
"""

from typing import Union

import torch
from detectron2.layers import ROIAlign

_MARGIN = 1  # pixels around a box that its interpolation reaches
_INSIDE = 0.5


class ObjectMasks:
    """Stands in for Detectron2's BitMasks as ``gt_masks``: an id map instead of M masks.

    100 objects of a 1024 x 2048 crop take 8 MB instead of 200, and so do the 512 copies that box
    sampling makes of them. A field of ``Instances``.
    """

    def __init__(self, objects: torch.Tensor, ids: torch.Tensor) -> None:
        """``objects``: (H, W) integers, the object of each pixel; ``ids``: (M,) that of each mask."""
        self.objects = objects
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: Union[int, slice, torch.Tensor]) -> "ObjectMasks":
        if isinstance(index, int):
            index = slice(index, index + 1)
        return ObjectMasks(self.objects, self.ids[index])

    def to(self, *args: object, **kwargs: object) -> "ObjectMasks":
        """The masks on another device, as ``Instances.to`` wants."""
        return ObjectMasks(self.objects.to(*args, **kwargs), self.ids.to(*args, **kwargs))

    def contain(self, points: torch.Tensor) -> torch.Tensor:
        """(M, n, 2) x, y in pixels inside the image -> (M, n) bool: which lie in their object."""
        height, width = self.objects.shape
        x = points[..., 0].long().clamp(0, width - 1)
        y = points[..., 1].long().clamp(0, height - 1)
        return self.objects[y, x] == self.ids[:, None]

    def crop_and_resize(self, boxes: torch.Tensor, mask_size: int) -> torch.Tensor:
        """What BitMasks.crop_and_resize does: the mask targets of Mask R-CNN.

        Args:
            boxes: (M, 4) XYXY in pixels, inside the image; one for each mask.
            mask_size: cells along either side.

        Returns:
            (M, mask_size, mask_size) bool: at least half of the cell is covered.
        """
        pool = ROIAlign((mask_size, mask_size), spatial_scale=1.0, sampling_ratio=0, aligned=True)
        targets = boxes.new_zeros((len(boxes), mask_size, mask_size), dtype=torch.bool)
        for k, (box, object_id) in enumerate(zip(boxes.tolist(), self.ids.tolist())):
            rows, columns = (_window(box[i], box[i + 2]) for i in (1, 0))
            mask = (self.objects[rows, columns] == object_id).float()
            origin = boxes.new_tensor([columns.start, rows.start] * 2)
            roi = torch.cat([boxes.new_zeros(1), boxes[k] - origin])
            targets[k] = pool(mask[None, None], roi[None].float())[0, 0] >= _INSIDE
        return targets


def _window(start: float, stop: float) -> slice:
    """The pixels around [start, stop]; what exceeds the image is cut by the slicing."""
    return slice(max(int(start) - _MARGIN, 0), int(-(-stop // 1)) + _MARGIN)
