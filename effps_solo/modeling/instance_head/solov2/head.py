"""The SOLOv2 instance head (Wang et al., NeurIPS 2020): wiring of branches, targets and decoding.

With ``variant`` "full" and ``parity`` it equals the published head and its training on one process:
on several, the counts that divide the losses are means over all of them. Without ``parity`` four
faults are mended: a cell that two objects claim has one owner (:mod:`.targets`), objects without a
stride-4 mask stay out of the mean of the dice losses, crowds and void are no background, and what
:mod:`.decoding` lists. Without "full" the branches are lighter (:mod:`.branches`), and masks have a
prior of their place (:mod:`.position_prior`).

N images padded to (Hp, Wp), T thing classes, L levels, P positive cells, K instances.
"""

import contextlib
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import Instances

from effps_solo.modeling.instance_head.base import InstanceHead, StepTotals, total_over_processes
from effps_solo.modeling.instance_head.build import INSTANCE_HEAD_REGISTRY
from effps_solo.utils.errors import ConfigError

from . import branches, inference
from .decoding import Decoder
from .dynamic_masks import DynamicMasks, cell_frame
from .grids import Cells, check_levels, flatten_cells, resampled_strides
from .losses import category_focal_loss, dice_loss, in_chunks
from .position_prior import NUM_PARAMETERS
from .targets import MASK_STRIDE, GridTargets, assign_to_grid, trains_mask


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
        # Split with the channels last, as in memory: the maps' gradient is then put together so too.
        pixels = self.mask_features.permute(0, 2, 3, 1)
        parts = zip(self.category.split(1), self.kernels.split(1), pixels.split(1))
        return (SOLOv2Output(c, k, maps.permute(0, 3, 1, 2)) for c, k, maps in parts)


@INSTANCE_HEAD_REGISTRY.register()
class SOLOv2InstanceHead(InstanceHead):
    """Dynamic instance segmentation by grid cells: focal loss for classes, dice loss for masks."""

    @configurable
    def __init__(
        self,
        *,
        input_shape: Dict[str, ShapeSpec],
        in_features: List[str],
        mask_in_features: List[str],
        num_classes: int,
        num_grids: Sequence[Tuple[int, int]],
        scale_ranges: Sequence[Tuple[float, float]],
        test_num_grids: Sequence[Tuple[int, int]] = (),
        variant: str = "efficient",
        channels: int = 192,
        num_convs: int = 3,
        kernel_dim: int = 96,
        mask_channels: int = 96,
        norm: str = "GN",
        center_sigma: float = 0.2,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        category_loss_weight: float = 1.0,
        mask_loss_weight: float = 3.0,
        mask_loss_chunk: int = 256,
        parity: bool = False,
        **decoding: Any,
    ) -> None:
        """
        Args:
            input_shape: shapes of the neck's outputs.
            in_features: one per grid, fine to coarse.
            mask_in_features: what the mask branch fuses, from stride 4 on.
            num_classes: T.
            num_grids: (S_h, S_w) per level.
            test_num_grids: the same at inference, for images larger than the training crops;
                empty: ``num_grids``.
            scale_ranges: (low, high) of sqrt(w * h) in pixels per level, inclusive.
            variant: "efficient" or "full" (the published head).
            channels, num_convs: width and depth of the category and kernel towers.
            kernel_dim: E, channels of the mask features.
            mask_channels: channels inside the mask branch.
            norm: a name of :mod:`effps_solo.modeling.layers`.
            center_sigma: sigma of the centre region.
            focal_alpha, focal_gamma: of the focal loss.
            category_loss_weight, mask_loss_weight: factors on the two losses.
            mask_loss_chunk: positive cells of an image whose masks exist at once; 0: all.
            parity: targets, mask loss and decoding as published, see the module's docstring.
            decoding: of :class:`Decoder`.

        Raises:
            ConfigError: unknown variant, lists of different lengths, or no class.
        """
        super().__init__()
        test_num_grids = test_num_grids or num_grids
        check_levels(in_features, num_grids, test_num_grids, scale_ranges)
        grid_type, mask_type = branches.branch_types(variant)
        if num_classes < 1:
            raise ConfigError(
                f"MODEL.INSTANCE_HEAD.NUM_CLASSES must be positive, got {num_classes}"
            )
        self.in_features, self.mask_in_features = list(in_features), list(mask_in_features)
        self.num_classes = num_classes
        self.scale_ranges = [(float(low), float(high)) for low, high in scale_ranges]
        self.kernel_dim = kernel_dim
        self.has_position_prior = variant == "efficient"
        self.center_sigma = center_sigma
        self.focal_alpha, self.focal_gamma = focal_alpha, focal_gamma
        self.category_loss_weight, self.mask_loss_weight = category_loss_weight, mask_loss_weight
        self.mask_loss_chunk = mask_loss_chunk
        self.parity = parity
        self.decoder = Decoder(parity=parity, **decoding)

        self.grid_branches = grid_type(
            input_shape[in_features[0]].channels,
            num_classes=num_classes,
            kernel_size=kernel_dim + (NUM_PARAMETERS if self.has_position_prior else 0),
            channels=channels,
            num_convs=num_convs,
            norm=norm,
        )
        self.mask_branch = mask_type(
            [input_shape[f].channels for f in mask_in_features],
            channels=mask_channels,
            out_channels=kernel_dim,
            norm=norm,
        )
        strides = resampled_strides([input_shape[f].stride for f in in_features])
        self.cells = Cells(num_grids, self.scale_ranges, strides)
        self.test_cells = Cells(test_num_grids, self.scale_ranges, strides)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Dict[str, ShapeSpec]) -> Dict[str, object]:
        node = cfg.MODEL.SOLOV2
        return {
            "input_shape": input_shape,
            "in_features": cfg.MODEL.INSTANCE_HEAD.IN_FEATURES,
            "mask_in_features": node.MASK_IN_FEATURES,
            "num_classes": cfg.MODEL.INSTANCE_HEAD.NUM_CLASSES,
            "num_grids": node.NUM_GRIDS,
            "test_num_grids": node.TEST_NUM_GRIDS,
            "scale_ranges": node.SCALE_RANGES,
            "variant": node.VARIANT,
            "channels": node.CHANNELS,
            "num_convs": node.NUM_CONVS,
            "kernel_dim": node.KERNEL_DIM,
            "mask_channels": node.MASK_CHANNELS,
            "norm": node.NORM,
            "center_sigma": node.CENTER_SIGMA,
            "focal_alpha": node.FOCAL_ALPHA,
            "focal_gamma": node.FOCAL_GAMMA,
            "category_loss_weight": node.CATEGORY_LOSS_WEIGHT,
            "mask_loss_weight": node.MASK_LOSS_WEIGHT,
            "mask_loss_chunk": node.MASK_LOSS_CHUNK,
            "parity": node.PARITY,
            "score_thresh": node.SCORE_THRESH,
            "nms_pre": node.NMS_PRE,
            "nms_kernel": node.NMS_KERNEL,
            "nms_sigma": node.NMS_SIGMA,
            "update_thresh": node.UPDATE_THRESH,
            "min_mask_area": node.MIN_MASK_AREA,
            "max_detections": cfg.TEST.DETECTIONS_PER_IMAGE,
        }

    @contextlib.contextmanager
    def at_scale(self, factor: float) -> Iterator[None]:
        """Grids with ``factor`` times the rows and columns: cells keep their size in pixels."""
        cells = self.test_cells
        self.test_cells = cells.scaled(factor)
        try:
            yield
        finally:
            self.test_cells = cells

    def forward(self, features: Dict[str, torch.Tensor]) -> SOLOv2Output:
        """Neck features -> the dense outputs of the three branches."""
        levels = [features[f] for f in self.in_features]
        category, kernels = self.grid_branches(levels, self._cells().num_grids)
        mask_features = self.mask_branch([features[f] for f in self.mask_in_features])
        return SOLOv2Output(flatten_cells(category), flatten_cells(kernels), mask_features)

    def count_targets(
        self,
        padded_size: Tuple[int, int],
        instances: List[Instances],
        ignore_masks: Optional[torch.Tensor],
    ) -> torch.Tensor:
        """(2,) positive cells, masks; see :meth:`InstanceHead.count_targets`."""
        targets = self._targets(padded_size, instances, ignore_masks)
        return _count(targets, self._trains_mask(targets, instances))

    def losses(
        self,
        features: Dict[str, torch.Tensor],
        image_sizes: List[Tuple[int, int]],
        instances: List[Instances],
        ignore_masks: Optional[torch.Tensor],
        totals: Optional[StepTotals] = None,
    ) -> Dict[str, torch.Tensor]:
        """{"loss_category", "loss_mask"}; see :meth:`InstanceHead.losses`."""
        output = self(features)
        height, width = output.mask_features.shape[-2:]
        padded_size = (height * MASK_STRIDE, width * MASK_STRIDE)
        targets = self._targets(padded_size, instances, ignore_masks)
        wanted = self._trains_mask(targets, instances)
        totals = totals or total_over_processes(_count(targets, wanted))
        category = torch.cat([t.category for t in targets])
        loss_category = category_focal_loss(
            output.category.flatten(0, 1),
            category,
            alpha=self.focal_alpha,
            gamma=self.focal_gamma,
        )
        dice = [self._dice(*x) for x in zip(output.of_images(), targets, wanted, instances)]
        num_positive, num_masks = totals.counts.to(loss_category)
        loss_category = loss_category / ((num_positive + 1) / totals.num_parts)
        loss_mask = torch.cat(dice).sum() / (num_masks.clamp(min=1) / totals.num_parts)
        return {
            "loss_category": self.category_loss_weight * loss_category,
            "loss_mask": self.mask_loss_weight * loss_mask,
        }

    def inference(
        self,
        features: Dict[str, torch.Tensor],
        image_sizes: List[Tuple[int, int]],
        min_score: float = 0.0,
    ) -> List[Instances]:
        """See :meth:`InstanceHead.inference`.

        Matrix NMS of a candidate never looks at lower scores and only lowers scores, so cutting
        the candidates at ``min_score`` gives the same instances above it.
        """
        output = self(features)
        strides = self._cells().strides
        return [
            self.decoder(scores, self.masks(each), strides, size, min_score)
            for scores, each, size in zip(self.cell_scores(output), output.of_images(), image_sizes)
        ]

    def cell_scores(self, output: SOLOv2Output) -> torch.Tensor:
        """(N, cells, T) class probabilities after points NMS."""
        maps, grids = [], self._cells().num_grids
        for logits, grid in zip(output.category.split([h * w for h, w in grids], 1), grids):
            scores = logits.float().sigmoid().transpose(1, 2).unflatten(2, grid)
            maps.append(inference.points_nms(scores))
        return flatten_cells(maps)

    def masks(self, output: SOLOv2Output) -> DynamicMasks:
        """Those of all cells; of the output of one image."""
        masks = DynamicMasks(output.kernels.squeeze(0), output.mask_features.squeeze(0))
        if self.has_position_prior:
            cells = self._cells()
            masks.centers = cells.centers * cell_frame(masks.features)
            masks.extents = cells.extents
        return masks

    @torch.no_grad()
    def _targets(
        self,
        padded_size: Tuple[int, int],
        instances: List[Instances],
        ignore_masks: Optional[torch.Tensor],
    ) -> List[GridTargets]:
        """Of every image."""
        ignored = [None] * len(instances) if ignore_masks is None or self.parity else ignore_masks
        return [
            assign_to_grid(
                x.gt_centers,
                x.gt_boxes.tensor,
                x.gt_areas,
                x.gt_classes,
                padded_size=padded_size,
                num_grids=self.cells.num_grids,
                scale_ranges=self.scale_ranges,
                center_sigma=self.center_sigma,
                num_classes=self.num_classes,
                ignore=ignore,
                one_owner=not self.parity,
            )
            for x, ignore in zip(instances, ignored)
        ]

    def _trains_mask(
        self, targets: List[GridTargets], instances: List[Instances]
    ) -> List[torch.Tensor]:
        masks = [x.gt_stride4_masks for x in instances]
        return [trains_mask(t, m) | self.parity for t, m in zip(targets, masks)]

    def _dice(
        self,
        output: SOLOv2Output,
        targets: GridTargets,
        wanted: torch.Tensor,
        instances: Instances,
    ) -> torch.Tensor:
        """Dice losses of the ``wanted`` ones of one image's pairs of a positive cell and an object.

        Crowds and void count as outside, for the mask of an annotated object is complete; were they
        ignored, masks would flow into the crowds beside them.
        """
        masks = instances.gt_stride4_masks
        height, width = output.mask_features.shape[-2:]
        masks = F.pad(masks, (0, width - masks.shape[-1], 0, height - masks.shape[-2]))

        predicted = self.masks(output)

        def dice(cells: torch.Tensor, objects: torch.Tensor) -> torch.Tensor:
            return dice_loss(predicted.of(cells).logits(), masks[objects])

        cells, objects = targets.cell_index[wanted], targets.instance_index[wanted]
        return in_chunks(dice, cells, objects, size=self.mask_loss_chunk)

    def _cells(self) -> Cells:
        return self.cells if self.training else self.test_cells


def _count(targets: List[GridTargets], wanted: List[torch.Tensor]) -> torch.Tensor:
    """(2,) int64: positive cells, and pairs of a cell and an object whose mask it learns."""
    num_positive = sum(t.num_positive for t in targets)
    num_masks = torch.stack([w.sum() for w in wanted]).sum()
    return torch.stack([num_masks.new_tensor(num_positive), num_masks])
