"""The oracle: an upper bound of PQ, that of a perfect network under a config.

The ground truth itself goes through what the network can express - objects that own a grid cell, where the
head is SOLOv2, masks and semantic labels at stride 4 - and through the real fusion. The PQ of the result
bounds the PQ of a model with this config.
"""

import logging
from typing import Any, Dict, List, Optional

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, Instances
from torch import nn

from effps_solo.data.augmentation import build_augmentations
from effps_solo.data.mapper import DenseSegments, PanopticDatasetMapper
from effps_solo.modeling.detections import boxes_from_masks
from effps_solo.modeling.fusion import build_panoptic_fusion
from effps_solo.modeling.instance_head import Stride4Masks
from effps_solo.modeling.instance_head.solov2.targets import assign_to_grid
from effps_solo.modeling.upsampling import STRIDE
from effps_solo.structures.label_space import PanopticLabelSpace

logger = logging.getLogger(__name__)

SURE_LOGIT = 10.0
_NONE = -1  # of pixels that belong to no object
MASK_KINDS = ("binary", "soft")


class OracleMapper(PanopticDatasetMapper):
    """The training mapper with the augmentations of the test: ground truth in the network's frame.

    Adds "objects" (H, W): 0 for no object, k + 1 for instance k.
    """

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> Dict[str, Any]:
        arguments = super().from_config(cfg, is_train=True)
        return {**arguments, "augmentations": build_augmentations(cfg, is_train=False)}

    def _targets(self, segments: DenseSegments) -> Dict[str, Any]:
        return {**super()._targets(segments), "objects": torch.from_numpy(self.objects(segments))}


class OracleModel(nn.Module):
    """Answers every image with its ground truth at the resolution of the representation."""

    def __init__(self, cfg: CfgNode, masks: str = "soft") -> None:
        """
        Args:
            cfg: grids, scale ranges, thresholds and fusion are read from it.
            masks: "binary" stride-4 masks, as the loss has them, or "soft" ones that hold the
                covered fraction of every 4 x 4 block.

        Raises:
            ValueError: unknown kind of masks.
        """
        super().__init__()
        if masks not in MASK_KINDS:
            raise ValueError(f"masks must be one of {MASK_KINDS}, got '{masks}'")
        self.masks = masks
        metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
        self.label_space = PanopticLabelSpace.from_metadata(metadata)
        self.fusion = build_panoptic_fusion(cfg, self.label_space)
        self.grid = _grid_of(cfg)

    def forward(self, batched_inputs: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
        """Dicts of :class:`OracleMapper` -> dicts with "panoptic_seg"."""
        return [self._one(x) for x in batched_inputs]

    def _one(self, x: Dict[str, Any]) -> Dict[str, Any]:
        sem_seg, truth = x["sem_seg"], x["instances"]
        shares = _block_shares(sem_seg.long(), self.label_space.num_classes)  # void is no class
        semantic_logits = _to_logits(shares)
        owners = self._found_objects(truth, sem_seg.shape)
        instances = Instances(truth.image_size)
        instances.scores = torch.ones(len(owners))
        instances.thing_index = truth.gt_classes[owners]
        logits = self._mask_logits(x, truth, owners)
        instances.pred_boxes = Boxes(boxes_from_masks(logits > 0) * STRIDE)
        instances.mask_source = Stride4Masks(logits)
        output_size = (x["height"], x["width"])
        return {"panoptic_seg": self.fusion(semantic_logits, instances, output_size)}

    def _found_objects(self, truth: Instances, size: torch.Size) -> torch.Tensor:
        """Those that own a grid cell; all where the instance head has no grids."""
        if self.grid is None:
            return torch.arange(len(truth))
        height, width = (-(-s // 32) * 32 for s in size)
        targets = assign_to_grid(
            truth.gt_centers,
            truth.gt_boxes.tensor,
            truth.gt_areas,
            truth.gt_classes,
            padded_size=(height, width),
            **self.grid,
        )
        return targets.instance_index.unique()

    def _mask_logits(
        self, x: Dict[str, Any], truth: Instances, owners: torch.Tensor
    ) -> torch.Tensor:
        if self.masks == "binary":
            return (truth.gt_stride4_masks[owners].float() * 2 - 1) * SURE_LOGIT
        objects = x["objects"].long()
        ids = torch.unique(objects)
        number = torch.full((int(objects.max()) + 1,), _NONE)
        number[ids[ids > 0][owners]] = torch.arange(len(owners))
        return _to_logits(_block_shares(number[objects], len(owners)))


def _grid_of(cfg: CfgNode) -> Optional[Dict[str, Any]]:
    """The arguments of :func:`assign_to_grid` at inference; None for other heads than SOLOv2."""
    is_solov2 = cfg.MODEL.INSTANCE_HEAD.NAME == "SOLOv2InstanceHead"
    if cfg.MODEL.META_ARCHITECTURE != "EfficientPS" or not is_solov2:
        logger.info("The instance head is not SOLOv2: the bound is that of stride 4 and the fusion")
        return None
    node = cfg.MODEL.SOLOV2
    return {
        "num_grids": node.TEST_NUM_GRIDS or node.NUM_GRIDS,
        "scale_ranges": node.SCALE_RANGES,
        "center_sigma": node.CENTER_SIGMA,
        "num_classes": cfg.MODEL.INSTANCE_HEAD.NUM_CLASSES,
    }


def _block_shares(labels: torch.Tensor, count: int) -> torch.Tensor:
    """(H, W) int64 -> (count, ceil(H/4), ceil(W/4)): the share of each label in every 4 x 4 block.

    The rim is continued; other labels than 0 .. count - 1 are of none. The pixels are counted in one pass,
    for ``count`` masks at full resolution are gigabytes where there are hundreds of objects.
    """
    size = height, width = [-(-s // STRIDE) for s in labels.shape]
    y, x = (torch.arange(s * STRIDE) for s in size)
    labels = labels[y.clamp(max=labels.shape[0] - 1)][:, x.clamp(max=labels.shape[1] - 1)]
    block = (y // STRIDE)[:, None] * width + x // STRIDE
    index = (labels * (height * width) + block)[(labels >= 0) & (labels < count)]
    counts = torch.bincount(index, minlength=count * height * width)
    return counts.reshape(count, height, width).float() / STRIDE**2


def _to_logits(shares: torch.Tensor) -> torch.Tensor:
    """Linear in the covered share, so that interpolation puts the border at one half."""
    return (shares * 2 - 1) * SURE_LOGIT
