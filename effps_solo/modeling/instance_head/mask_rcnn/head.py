"""Mask R-CNN (He et al., ICCV 2017) as an instance head: Detectron2's modules behind our contract.

The head of the original EfficientPS, there to be compared with. Its networks equal the released
ones; with the keys of ``configs/cityscapes/effps_b5_mask_rcnn_released.yaml`` so do anchors,
pooling, sampling, losses and thresholds. It departs where Detectron2 does: anchors are not rounded
to pixels (decoded boxes differ by at most one), every object has an anchor however small their
overlap, mask targets are pooled. Nothing predicts boxes and masks of the background, and crowds are
no negatives of the box head.

N images padded to (Hp, Wp), T thing classes, P proposals, K instances.
"""

import contextlib
from typing import Any, ContextManager, Dict, Iterator, List

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ROIAlign, ShapeSpec
from detectron2.modeling import build_proposal_generator, build_roi_heads
from detectron2.modeling.roi_heads import StandardROIHeads
from detectron2.structures import ImageList, Instances, pairwise_iou
from detectron2.utils.events import EventStorage, has_event_storage
from torch import nn

from effps_solo.modeling.instance_head.base import (
    Features,
    InstanceHead,
    InstanceTargets,
    Sizes,
    StepTotals,
)
from effps_solo.modeling.instance_head.build import INSTANCE_HEAD_REGISTRY
from effps_solo.modeling.upsampling import STRIDE
from effps_solo.utils.errors import ConfigError

from .pasted_masks import PastedMasks

# Proposals of which a larger part lies in crowds and void are no negatives.
MAX_IGNORED_FRACTION = 0.5
_TARGET_FIELDS = ("gt_boxes", "gt_classes", "gt_masks")


@INSTANCE_HEAD_REGISTRY.register()
class MaskRCNNInstanceHead(InstanceHead):
    """Region proposals, box head and mask head; boxes and masks are those of Detectron2.

    Crowds and void: a proposal that mostly lies there and matches no object trains neither box nor
    mask head. Anchors of the proposal network there count as background, as in the released code.
    """

    @configurable
    def __init__(self, *, proposal_generator: nn.Module, roi_heads: StandardROIHeads) -> None:
        """
        Args:
            proposal_generator: Detectron2's RPN, or what behaves like it.
            roi_heads: with a mask head.

        Raises:
            ConfigError: ``roi_heads`` has no mask head.
        """
        super().__init__()
        if not getattr(roi_heads, "mask_on", False):
            raise ConfigError(
                f"MODEL.ROI_HEADS.NAME is {type(roi_heads).__name__}, which makes no masks"
            )
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads
        self.num_classes = roi_heads.num_classes

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Dict[str, ShapeSpec]) -> Dict[str, Any]:
        """Detectron2's keys, but for the class count, which all instance heads share."""
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.MASK_ON = True
        cfg.MODEL.ROI_HEADS.NUM_CLASSES = cfg.MODEL.INSTANCE_HEAD.NUM_CLASSES
        return {
            "proposal_generator": build_proposal_generator(cfg, input_shape),
            "roi_heads": build_roi_heads(cfg, input_shape),
        }

    def losses(
        self, features: Features, image_sizes: Sizes, targets: InstanceTargets, totals: StepTotals
    ) -> Dict[str, torch.Tensor]:
        """{"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"}.

        See :meth:`InstanceHead.losses`; as Detectron2 has them, means over this part of the step.
        Of the instances gt_boxes, gt_classes and gt_masks are used; gt_masks has Detectron2's
        ``crop_and_resize(boxes, size)``, as BitMasks and ObjectMasks do.
        """
        images = _image_list(features, image_sizes)
        instances = [_without_other_fields(x) for x in targets.instances]
        heads = self.roi_heads
        with _event_storage(), _training_mode(self.proposal_generator, heads, heads.mask_head):
            proposals, losses = self.proposal_generator(images, features, instances)
            if targets.ignore_masks is not None:
                proposals = [
                    self._without_ignored(*each)
                    for each in zip(proposals, instances, targets.ignore_masks)
                ]
            _, roi_losses = heads(images, features, proposals, instances)
        return {**losses, **roi_losses}

    def inference(
        self, features: Features, image_sizes: Sizes, *, min_score: float = 0.0, scale: float = 1.0
    ) -> List[Instances]:
        """See :meth:`InstanceHead.inference`; pred_boxes are those of the box head.

        Non-maximum suppression only drops boxes below a better one, so cutting at ``min_score``
        before the mask head gives the same instances above it.
        """
        images = _image_list(features, image_sizes)
        proposals, _ = self.proposal_generator(images, features, None)
        detections = [
            x[(x.scores >= min_score) & x.pred_boxes.nonempty()]
            for x in self._detect_boxes(features, proposals)
        ]
        detections = self.roi_heads.forward_with_given_boxes(features, detections)
        return [_to_contract(x) for x in detections]

    def _detect_boxes(self, features: Features, proposals: List[Instances]) -> List[Instances]:
        """The box half of StandardROIHeads: pred_boxes, scores and pred_classes, best first."""
        heads = self.roi_heads
        levels = [features[f] for f in heads.box_in_features]
        pooled = heads.box_pooler(levels, [x.proposal_boxes for x in proposals])
        predictions = heads.box_predictor(heads.box_head(pooled))
        return heads.box_predictor.inference(predictions, proposals)[0]

    @torch.no_grad()
    def _without_ignored(
        self, proposals: Instances, targets: Instances, ignore: torch.Tensor
    ) -> Instances:
        """The proposals that match an object or mostly lie where objects are annotated."""
        boxes = proposals.proposal_boxes
        _, labels = self.roi_heads.proposal_matcher(pairwise_iou(targets.gt_boxes, boxes))
        annotated = ignored_fraction(boxes.tensor, ignore) <= MAX_IGNORED_FRACTION
        return proposals[annotated | (labels != 0)]


def ignored_fraction(boxes: torch.Tensor, ignore: torch.Tensor) -> torch.Tensor:
    """(P,) which part of each box is ignored.

    Args:
        boxes: (P, 4) XYXY in pixels.
        ignore: (h, w) bool at stride 4.
    """
    pool = ROIAlign((1, 1), spatial_scale=1 / STRIDE, sampling_ratio=0, aligned=True)
    rois = torch.cat([torch.zeros_like(boxes[:, :1]), boxes], dim=1)
    return pool(ignore[None, None].to(boxes.dtype), rois).flatten()


def _image_list(features: Features, image_sizes: Sizes) -> ImageList:
    """What Detectron2's modules expect of the images: they only look at the sizes."""
    return ImageList(next(iter(features.values())), [(int(h), int(w)) for h, w in image_sizes])


def _without_other_fields(instances: Instances) -> Instances:
    """The ground truth without what Detectron2 would copy for every sampled proposal in vain."""
    fields = {name: instances.get(name) for name in _TARGET_FIELDS}
    return Instances(instances.image_size, **fields)


def _event_storage() -> ContextManager[Any]:
    """Detectron2's losses log; without a trainer into nothing."""
    return contextlib.nullcontext() if has_event_storage() else EventStorage()


@contextlib.contextmanager
def _training_mode(*modules: nn.Module) -> Iterator[None]:
    """Detectron2's modules compute losses in training mode alone; the norms inside stay as they are."""
    before = [module.training for module in modules]
    for module in modules:
        module.training = True
    try:
        yield
    finally:
        for module, training in zip(modules, before):
            module.training = training


def _to_contract(detections: Instances) -> Instances:
    """Detectron2's detections of one image -> what :meth:`InstanceHead.inference` returns."""
    result = Instances(detections.image_size)
    result.scores = detections.scores.float()
    result.thing_index = detections.pred_classes
    result.pred_boxes = detections.pred_boxes
    probabilities = detections.pred_masks[:, 0]
    result.mask_source = PastedMasks(probabilities, detections.pred_boxes.tensor)
    return result
