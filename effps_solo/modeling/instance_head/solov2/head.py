"""The SOLOv2 instance head (Wang et al., NeurIPS 2020): wiring of branches, targets and decoding.

Four faults of the published head (:mod:`.published`) are mended: a cell that two objects claim has one owner
(:mod:`.targets`), objects without a stride-4 mask stay out of the mean of the mask losses, crowds and void
are no background, and what :mod:`.decoding` lists. With ``variant`` "full" the branches are the published
ones; without it they are lighter (:mod:`.branches`), and masks have a prior of their place
(:mod:`.position_prior`).

N images padded to (Hp, Wp), T thing classes, L levels, P positive cells, K instances.
"""

from functools import partial
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes, Instances

from effps_solo.modeling.detections import Detections
from effps_solo.modeling.instance_head.base import (
    Features,
    InstanceHead,
    InstanceTargets,
    LayeredMasks,
    Sizes,
    StepTotals,
)
from effps_solo.modeling.instance_head.build import INSTANCE_HEAD_REGISTRY
from effps_solo.utils.errors import ConfigError

from . import branches
from .decoding import Decoder
from .dynamic_masks import DynamicMasks, cell_frame
from .grids import Cells, check_levels, check_mask_features, flatten_cells, resampled_strides
from .losses import category_focal_loss, dice_loss
from .output import SOLOv2Output, cell_scores
from .point_loss import sample_points
from .position_prior import NUM_PARAMETERS
from .targets import GridTargets, trains_mask
from .training import MaskLoss, SOLOv2Targets, assign_instances, mask_losses

# (cells, T) logits and (cells,) categories -> the summed loss, see category_focal_loss.
CategoryLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@INSTANCE_HEAD_REGISTRY.register()
class SOLOv2InstanceHead(InstanceHead):
    """Dynamic instance segmentation by grid cells: focal loss for classes, dice loss for masks."""

    decoder_type = Decoder

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
        norm: str = "BN",
        center_sigma: float = 0.2,
        category_loss: CategoryLoss = category_focal_loss,
        mask_loss: MaskLoss = dice_loss,
        category_loss_weight: float = 1.0,
        mask_loss_weight: float = 3.0,
        point_loss_weight: float = 0.0,
        num_points: int = 112,
        mask_loss_chunk: int = 256,
        class_weights: Sequence[float] = (),
        **decoding: Any,
    ) -> None:
        """
        Args:
            input_shape: shapes of the neck's outputs.
            in_features, mask_in_features: one per grid, and those of the masks, fine to coarse.
            num_classes, num_grids: T, and (S_h, S_w) per level.
            test_num_grids: at inference, of images larger than the crops; empty: equal.
            scale_ranges: (low, high) of sqrt(w * h) in pixels per level, inclusive.
            variant: "efficient" or "full" (the published head).
            channels, num_convs: width and depth of the towers of grids.
            kernel_dim, mask_channels: E, channels of the mask features, and those of their branch.
            norm: a name of :mod:`effps_solo.modeling.layers`.
            center_sigma, category_loss, mask_loss: sigma of the centre region; see the types.
            category_loss_weight, mask_loss_weight, point_loss_weight: factors on the losses.
            num_points: of each mask, see :mod:`.point_loss`; the full variant has none.
            mask_loss_chunk: positive cells of an image whose masks exist at once; 0: all.
            class_weights: T factors on the mask losses of the objects of each class; empty: 1.
            decoding: of :class:`Decoder`.

        Raises:
            ConfigError: unknown variant, no class, or levels, ranges or strides that do not fit.
        """
        super().__init__()
        test_num_grids = test_num_grids or num_grids
        check_levels(in_features, num_grids, test_num_grids, scale_ranges)
        check_mask_features(mask_in_features, input_shape, variant == "full")
        grid_type, mask_type = branches.branch_types(variant)
        _check_num_classes(num_classes)
        self.in_features, self.mask_in_features = list(in_features), list(mask_in_features)
        self.num_classes, self.kernel_dim, self.center_sigma = num_classes, kernel_dim, center_sigma
        self.scale_ranges = [(float(low), float(high)) for low, high in scale_ranges]
        self.has_position_prior = variant == "efficient"
        self.category_loss, self.category_loss_weight = category_loss, category_loss_weight
        self.mask_loss, self.mask_loss_weights = mask_loss, (mask_loss_weight, point_loss_weight)
        self.num_points = num_points if variant == "efficient" and point_loss_weight else 0
        self.mask_loss_chunk, self.class_weights = mask_loss_chunk, list(class_weights)
        self.decoder = self.decoder_type(**decoding)
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
            "category_loss": partial(
                category_focal_loss,
                alpha=node.FOCAL_ALPHA,
                gamma=node.FOCAL_GAMMA,
                class_weights=cfg.MODEL.INSTANCE_HEAD.CLASS_WEIGHTS,
            ),
            "category_loss_weight": node.CATEGORY_LOSS_WEIGHT,
            "mask_loss_weight": node.MASK_LOSS_WEIGHT,
            "point_loss_weight": node.POINT_LOSS_WEIGHT,
            "num_points": node.NUM_POINTS,
            "mask_loss_chunk": node.MASK_LOSS_CHUNK,
            "class_weights": cfg.MODEL.INSTANCE_HEAD.CLASS_WEIGHTS,
            **cls.decoder_type.from_config(cfg),
        }

    def forward(self, features: Features, cells: Cells) -> SOLOv2Output:
        """Neck features -> the dense outputs of the three branches for ``cells``."""
        levels = [features[f] for f in self.in_features]
        category, kernels = self.grid_branches(levels, cells.num_grids)
        mask_features = self.mask_branch([features[f] for f in self.mask_in_features])
        return SOLOv2Output(flatten_cells(category), flatten_cells(kernels), mask_features)

    def targets(
        self,
        padded_size: Tuple[int, int],
        instances: List[Instances],
        ignore_masks: Optional[torch.Tensor],
        *,
        whole_images: bool = False,
    ) -> SOLOv2Targets:
        """``counts`` are positive cells and masks; see :meth:`InstanceHead.targets`.

        Whole images have the grids of inference.
        """
        cells = self.test_cells if whole_images else self.cells
        grids = self._assign(padded_size, instances, ignore_masks, cells)
        has_mask = self._has_mask(grids, instances)
        counts = torch.stack([sum(t.num_positive for t in grids), sum(m.sum() for m in has_mask)])
        return SOLOv2Targets(instances, ignore_masks, counts, cells, grids, has_mask)

    def losses(
        self, features: Features, image_sizes: Sizes, targets: InstanceTargets, totals: StepTotals
    ) -> Dict[str, torch.Tensor]:
        """{"loss_category", "loss_mask", "loss_mask_point"}; see :meth:`InstanceHead.losses`.

        The last where masks have points.
        """
        assert isinstance(targets, SOLOv2Targets)
        output = self(features, targets.cells)
        category = torch.cat([t.category for t in targets.grids])
        loss_category = self.category_loss(output.category.flatten(0, 1), category)
        images = zip(output.of_images(), targets.grids, targets.has_mask, targets.instances)
        of_masks = [
            self._mask_losses(self.masks(each, targets.cells), grid, has_mask, truth)
            for each, grid, has_mask, truth in images
        ]
        num_positive, num_masks = totals.counts.to(loss_category)
        loss_category = loss_category / ((num_positive + 1) / totals.num_parts)
        sums = torch.cat(of_masks).sum(dim=0) / (num_masks.clamp(min=1) / totals.num_parts)
        weighted = zip(("loss_mask", "loss_mask_point"), self.mask_loss_weights, sums)
        return {
            "loss_category": self.category_loss_weight * loss_category,
            **{name: weight * loss for name, weight, loss in weighted},
        }

    def inference(
        self, features: Features, image_sizes: Sizes, *, min_score: float = 0.0, scale: float = 1.0
    ) -> List[Instances]:
        """See :meth:`InstanceHead.inference`.

        Grids have ``scale`` times the rows and columns: cells keep their size in pixels.
        """
        found = self.detections(features, image_sizes, min_score=min_score, scale=scale)
        return [self._as_instances(*each) for each in zip(found, image_sizes)]

    def detections(
        self, features: Features, image_sizes: Sizes, *, min_score: float = 0.0, scale: float = 1.0
    ) -> List[Detections]:
        """:meth:`inference` as tensors.

        Matrix NMS of a candidate never looks at lower scores and only lowers scores, so cutting
        the candidates at ``min_score`` gives the same instances above it.
        """
        cells = self.test_cells.scaled(scale)
        output = self(features, cells)
        images = zip(cell_scores(output, cells), output.of_images(), image_sizes)
        return [
            self.decoder(scores, self.masks(each, cells), cells.strides, size, min_score)
            for scores, each, size in images
        ]

    def masks(self, output: SOLOv2Output, cells: Cells) -> DynamicMasks:
        """Those of all ``cells``; of the output of one image."""
        pixels = output.mask_features.permute(0, 2, 3, 1)
        masks = DynamicMasks(output.kernels.squeeze(0), pixels.squeeze(0))
        if self.has_position_prior:
            masks.centers = cells.centers * cell_frame(masks.features)
            masks.extents = cells.extents
        return masks

    @staticmethod
    def _as_instances(found: Detections, image_size: Tuple[int, int]) -> Instances:
        return Instances(
            image_size,
            scores=found.scores,
            thing_index=found.thing_index,
            pred_boxes=Boxes(found.boxes),
            mask_source=LayeredMasks(found.masks),
        )

    def _assign(
        self,
        padded_size: Tuple[int, int],
        instances: List[Instances],
        ignore_masks: Optional[torch.Tensor],
        cells: Cells,
        one_owner: bool = True,
    ) -> List[GridTargets]:
        settings = {"center_sigma": self.center_sigma, "num_classes": self.num_classes}
        return assign_instances(
            padded_size, instances, ignore_masks, cells, one_owner=one_owner, **settings
        )

    def _mask_losses(
        self, predicted: DynamicMasks, grid: GridTargets, has_mask: torch.Tensor, truth: Instances
    ) -> torch.Tensor:
        """Those of one image, weighted; see :func:`.training.mask_losses`."""
        points = None
        if self.num_points:
            points = sample_points(truth.gt_boxes.tensor, truth.gt_masks, self.num_points)
        truths = truth.gt_stride4_masks, points
        losses = mask_losses(
            predicted, grid, has_mask, *truths, self.mask_loss, chunk=self.mask_loss_chunk
        )
        if self.class_weights:
            classes = truth.gt_classes[grid.instance_index[has_mask]]
            losses = losses * losses.new_tensor(self.class_weights)[classes][:, None]
        return losses

    def _has_mask(self, grids: List[GridTargets], instances: List[Instances]) -> List[torch.Tensor]:
        return [trains_mask(t, x.gt_stride4_masks) for t, x in zip(grids, instances)]


def _check_num_classes(count: int) -> None:
    if count < 1:
        raise ConfigError(f"MODEL.INSTANCE_HEAD.NUM_CLASSES must be positive, got {count}")
