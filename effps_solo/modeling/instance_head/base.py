"""The contract of an instance head, and of the masks that it hands to the panoptic fusion."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Dict, List, Optional, Tuple, Union

import torch
import torch.nn.functional as F
from detectron2.structures import Instances
from detectron2.utils import comm
from torch import nn

from effps_solo.modeling.mask_layers import MaskLayers

Features = Dict[str, torch.Tensor]  # the neck's outputs by name
Sizes = List[Tuple[int, int]]  # (h, w) of each image
Index = Union[slice, torch.Tensor]
Window = Tuple[float, float, float, float]


class MaskSource(ABC):
    """The mask logits of K instances of one image, sampled where and as finely as asked for.

    A field of ``Instances``: has a length and can be indexed by a slice and by an int64 or bool tensor.
    Coordinates are those of the network input without padding, (0, 0) the corner of its first
    pixel.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: Index) -> "MaskSource": ...

    @abstractmethod
    def logits(self, k: int, window: Window, size: Tuple[int, int]) -> torch.Tensor:
        """Logits of instance ``k`` at the centres of ``size`` (h, w) equal cells of a window.

        Args:
            window: (x0, y0, x1, y1) in pixels of the network input.

        Returns:
            (h, w) float; above 0 is inside.
        """

    @abstractmethod
    def frame_logits(self, image_size: Tuple[int, int], size: Tuple[int, int]) -> torch.Tensor:
        """(K, H, W): :meth:`logits` of all instances over the whole image of (h, w), ``size`` is (H, W)."""

    @abstractmethod
    def stride4_logits(self, size: Tuple[int, int]) -> torch.Tensor:
        """(K, h, w) logits at the stride-4 points (4 i + 2, 4 j + 2); ``size`` is (h, w)."""

    def stride4_layers(self, size: Tuple[int, int], boxes: torch.Tensor) -> MaskLayers:
        """:meth:`stride4_logits` in layers.

        Args:
            size: (h, w).
            boxes: (K, 4) XYXY in points, the last ones exclusive; what lies outside of them is not needed.
        """
        return MaskLayers.of_maps(self.stride4_logits(size), boxes)


class Stride4Masks(MaskSource):
    """Mask logits that exist as stride-4 maps, as those of SOLOv2."""

    def __init__(self, maps: torch.Tensor) -> None:
        """
        Args:
            maps: (K, h, w) logits; (i, j) lies at (4 i + 2, 4 j + 2) of the network input.
        """
        self.maps = maps

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, index: Index) -> "Stride4Masks":
        return Stride4Masks(self.maps[index])

    def to(self, *args: object, **kwargs: object) -> "Stride4Masks":
        """The maps on another device, as ``Instances.to`` wants."""
        return Stride4Masks(self.maps.to(*args, **kwargs))

    def logits(self, k: int, window: Window, size: Tuple[int, int]) -> torch.Tensor:
        return self._sampled(self.maps[k : k + 1], window, size)[0]

    def frame_logits(self, image_size: Tuple[int, int], size: Tuple[int, int]) -> torch.Tensor:
        return self._sampled(self.maps, (0, 0, image_size[1], image_size[0]), size)

    def _sampled(self, maps: torch.Tensor, window: Window, size: Tuple[int, int]) -> torch.Tensor:
        """(n, h4, w4) -> (n, h, w)."""
        height, width = maps.shape[-2:]
        x0, y0, x1, y1 = window
        x = _cell_centers(x0, x1, size[1], maps) / (2 * width) - 1  # 4 px, 2 units a map
        y = _cell_centers(y0, y1, size[0], maps) / (2 * height) - 1
        y, x = torch.meshgrid(y, x, indexing="ij")
        grid = torch.stack([x, y], dim=-1)[None]
        return F.grid_sample(
            maps[None].float(), grid, mode="bilinear", padding_mode="border", align_corners=False
        )[0]

    def stride4_logits(self, size: Tuple[int, int]) -> torch.Tensor:
        return self.maps[:, : size[0], : size[1]]


class LayeredMasks(Stride4Masks):
    """Stride-4 maps that are in layers, and made only where they are asked for."""

    def __init__(self, layers: MaskLayers) -> None:
        self.layers = layers

    @cached_property
    def maps(self) -> torch.Tensor:
        """(K, h, w) logits."""
        return self.layers.maps()

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: Index) -> "LayeredMasks":
        return LayeredMasks(self.layers.of(index))

    def stride4_layers(self, size: Tuple[int, int], boxes: torch.Tensor) -> MaskLayers:
        return self.layers


def _cell_centers(start: float, stop: float, count: int, like: torch.Tensor) -> torch.Tensor:
    step = (stop - start) / count
    index = torch.arange(count, device=like.device, dtype=torch.float32)
    return start + (index + 0.5) * step


@dataclass
class StepTotals:
    """What the losses of one training step are divided by, so that its split does not matter.

    A part of a step is what one process passes through the network at once; the loss of the step is
    the mean over its parts, which hold equally many images.

    Attributes:
        counts: (n,) int64, those of :class:`InstanceTargets` summed over the parts.
        num_parts: processes times micro-batches.
    """

    counts: torch.Tensor
    num_parts: int


def total_over_processes(counts: torch.Tensor, num_micro_batches: int = 1) -> StepTotals:
    """The totals of a step; all processes have to call it.

    Args:
        counts: (n,) int64, summed over the micro-batches of this process.
        num_micro_batches: of each process.
    """
    num_processes = comm.get_world_size()
    if num_processes > 1 and counts.numel() > 0:
        counts = counts.clone()
        torch.distributed.all_reduce(counts)
    return StepTotals(counts, num_processes * num_micro_batches)


@dataclass
class InstanceTargets:
    """What the losses of N images are computed from; a head may add to it.

    Attributes:
        instances: the ground truth of each image, fields as PanopticDatasetMapper makes them; any may
            be empty.
        ignore_masks: (N, Hp/4, Wp/4) bool, crowds and void, where a detection is no mistake; None: there
            are none.
        counts: (n,) int64, what the losses are divided by; n = 0 for a head whose losses are means over
            its part of the step.
    """

    instances: List[Instances]
    ignore_masks: Optional[torch.Tensor]
    counts: torch.Tensor


class InstanceHead(nn.Module, ABC):
    """Base of the instance heads: neck features -> losses in training, ``Instances`` after it.

    Attributes:
        num_classes: T, the number of thing classes.
    """

    num_classes: int

    def targets(
        self,
        padded_size: Tuple[int, int],
        instances: List[Instances],
        ignore_masks: Optional[torch.Tensor],
        *,
        whole_images: bool = False,
    ) -> InstanceTargets:
        """The targets of :meth:`losses`, made without the network.

        Args:
            padded_size: (Hp, Wp).
            instances, ignore_masks: see :class:`InstanceTargets`.
            whole_images: the images are whole ones as at inference, not training crops.
        """
        return InstanceTargets(instances, ignore_masks, torch.zeros(0, dtype=torch.int64))

    @abstractmethod
    def losses(
        self, features: Features, image_sizes: Sizes, targets: InstanceTargets, totals: StepTotals
    ) -> Dict[str, torch.Tensor]:
        """
        Args:
            features: the neck's outputs of N images padded to (Hp, Wp).
            image_sizes: N pairs (h, w) without padding.
            targets: of :meth:`targets`.
            totals: of the whole step.

        Returns:
            named scalar losses, finite and with a gradient for every parameter of the head even
            if no image holds an object.
        """

    @abstractmethod
    def inference(
        self, features: Features, image_sizes: Sizes, *, min_score: float = 0.0, scale: float = 1.0
    ) -> List[Instances]:
        """
        Args:
            min_score: the caller has no use for instances below it.
            scale: the images are enlarged by this factor, objects and all; a head that counts on a
                certain size adapts.

        Returns:
            N ``Instances`` with ``image_size`` (h, w), in descending order of score: scores (K,)
            in [0, 1], thing_index (K,) int64, pred_boxes (around the masks, network input pixels)
            and mask_source (a :class:`MaskSource`); K may be 0.
        """
