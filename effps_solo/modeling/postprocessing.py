"""The masks of instances in the frame of the output. K instances, H x W output pixels."""

from typing import Iterator, List, Tuple, Union

import torch
from detectron2.structures import Boxes, Instances

from effps_solo.structures.label_space import PanopticLabelSpace

from .detections import boxes_from_masks
from .execution import works_in_parts
from .upsampling import STRIDE, Size

NUM_CHUNKS = (
    8  # in which masks are made on a GPU: less memory, in as many operations for any number
)


class WindowedMasks:
    """K masks, each in memory as a window of the frame; a field of ``Instances``, like BitMasks.

    Attributes:
        windows: rows and columns of each.
        masks: (rows, columns) bool of each, on a CPU.
        size: (H, W) of the frame.
    """

    def __init__(
        self, windows: List[Tuple[slice, slice]], masks: List[torch.Tensor], size: Size
    ) -> None:
        self.windows, self.masks, self.size = windows, masks, size

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(
        self, index: Union[int, slice, torch.Tensor]
    ) -> Union[torch.Tensor, "WindowedMasks"]:
        """(H, W) bool for a number; some of the masks for a slice or an int64 or bool tensor."""
        if isinstance(index, int):
            whole = torch.zeros(self.size, dtype=torch.bool)
            whole[self.windows[index]] = self.masks[index]
            return whole
        index = index.cpu() if isinstance(index, torch.Tensor) else index
        chosen = torch.arange(len(self))[index].tolist()
        return WindowedMasks(
            [self.windows[k] for k in chosen], [self.masks[k] for k in chosen], self.size
        )

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (self[k] for k in range(len(self)))  # one is in memory as a whole

    def to(self, *args: object, **kwargs: object) -> "WindowedMasks":
        """Itself, as ``Instances.to`` wants: masks for evaluation, which stay on the CPU."""
        return self

    def boxes(self) -> torch.Tensor:
        """(K, 4) float XYXY in pixels, tight; zeros where a mask is empty."""
        boxes = torch.zeros(len(self), 4)
        for k, (mask, (rows, columns)) in enumerate(zip(self.masks, self.windows)):
            y, x = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
            if len(y):
                boxes[k] = torch.stack([x.min(), y.min(), x.max() + 1, y.max() + 1])
                boxes[k] += boxes.new_tensor([columns.start, rows.start, columns.start, rows.start])
        return boxes

    def tensor(self) -> torch.Tensor:
        """(K, H, W) bool."""
        whole = torch.zeros((len(self), *self.size), dtype=torch.bool)
        for into, window, mask in zip(whole, self.windows, self.masks):
            into[window] = mask
        return whole


def windowed_masks(instances: Instances, output_size: Size) -> WindowedMasks:
    """The masks in the output frame, each inside a window around its box.

    Args:
        instances: an instance head's result in the network's frame.
        output_size: (H, W).
    """
    scale_y = output_size[0] / instances.image_size[0]
    scale_x = output_size[1] / instances.image_size[1]
    windows = [
        # A mask reaches up to one stride beyond the stride-4 points that it holds.
        (
            _window(y0 - STRIDE, y1 + STRIDE, scale_y, output_size[0]),
            _window(x0 - STRIDE, x1 + STRIDE, scale_x, output_size[1]),
        )
        for x0, y0, x1, y1 in instances.pred_boxes.tensor.tolist()
    ]
    masks: List[torch.Tensor] = []
    if not works_in_parts(instances.scores):
        for chunk in _chunks_of_masks(instances, output_size):
            of_chunk = zip(chunk.cpu(), windows[len(masks) :])
            masks += [mask[window].clone() for mask, window in of_chunk]
        return WindowedMasks(windows, masks, output_size)
    for k, (rows, columns) in enumerate(windows):
        window = (
            columns.start / scale_x,
            rows.start / scale_y,
            columns.stop / scale_x,
            rows.stop / scale_y,
        )
        size = (rows.stop - rows.start, columns.stop - columns.start)
        masks.append(instances.mask_source.logits(k, window, size) > 0)
    return WindowedMasks(windows, masks, output_size)


def _window(start: float, stop: float, scale: float, length: int) -> slice:
    first = min(max(int(start * scale), 0), length - 1)
    last = max(min(int(-(-stop * scale // 1)), length), first + 1)
    return slice(first, last)


def _chunks_of_masks(instances: Instances, output_size: Size) -> Iterator[torch.Tensor]:
    """(k, H, W) bool of at most NUM_CHUNKS parts of the instances."""
    bounds = [len(instances) * i // NUM_CHUNKS for i in range(NUM_CHUNKS + 1)]
    for start, stop in zip(bounds, bounds[1:]):
        if start < stop:
            source = instances.mask_source[slice(start, stop)]
            yield source.frame_logits(instances.image_size, output_size) > 0


def output_masks(instances: Instances, output_size: Size) -> torch.Tensor:
    """(K, H, W) bool: the masks in the output frame."""
    if works_in_parts(instances.scores):
        return windowed_masks(instances, output_size).tensor()
    nothing = torch.zeros((0, *output_size), dtype=torch.bool, device=instances.scores.device)
    return torch.cat([nothing, *_chunks_of_masks(instances, output_size)])


def instances_to_output(
    instances: Instances,
    output_size: Size,
    label_space: PanopticLabelSpace,
    *,
    whole_masks: bool = True,
) -> Instances:
    """Detectron2's ``Instances`` of the output frame.

    Args:
        whole_masks: pred_masks is a tensor; else a :class:`WindowedMasks`, for many and large ones.

    Returns:
        those with a mask of at least one pixel: scores, pred_classes (contiguous ids), pred_boxes
        (tight boxes of the masks) and pred_masks (K, H, W) bool.
    """
    masks: Union[torch.Tensor, WindowedMasks]
    if whole_masks and not works_in_parts(instances.scores):
        masks = output_masks(instances, output_size)
        boxes = boxes_from_masks(masks)
    else:
        masks = windowed_masks(instances, output_size)
        boxes = masks.boxes().to(instances.scores.device)
    thing_ids = torch.tensor(
        label_space.thing_ids, dtype=torch.int64, device=instances.scores.device
    )
    result = Instances(
        output_size,
        scores=instances.scores,
        pred_classes=thing_ids[instances.thing_index],
        pred_boxes=Boxes(boxes),
        pred_masks=masks,
    )
    result = result[result.pred_boxes.nonempty()]
    if whole_masks and isinstance(masks, WindowedMasks):
        result.pred_masks = result.pred_masks.tensor()
    return result
