"""Panoptic test-time augmentation (TEST.AUG): one prediction from several views of an image.

A view is the image at a scale, plain or mirrored. The views are looked at one after the other; what each
leaves behind lies on the stride-4 map of the image itself: semantic logits are summed up, instances
collected. In the end the logits are averaged, the instances go through Matrix NMS together, and the
model's own fusion makes the outputs.

A mirrored image gives the mirrored panoptic map to the bit: its views are the same two by two, an image is
mirrored before it is resized and a map after that, and sums begin with the two views of a scale,
whose order does not matter.

V views, C classes, K instances; h x w the stride-4 map of the image.
"""

from functools import partial
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances

from effps_solo.modeling.detections import boxes_from_masks
from effps_solo.modeling.execution import works_in_parts
from effps_solo.modeling.instance_head import Stride4Masks
from effps_solo.modeling.instance_head.solov2.inference import (
    decayed_scores,
    mask_intersections,
    same_class_iou,
)
from effps_solo.modeling.meta_arch import EfficientPS
from effps_solo.modeling.outputs import (
    FusionThresholds,
    PanopticNetwork,
    Unfused,
    output_size_of,
)
from effps_solo.modeling.upsampling import STRIDE, Size, resample, stride4_size
from effps_solo.utils.errors import ConfigError

MAX_LOGIT = 30.0
SAME_OBJECT_IOU = 0.5  # instances of two views that overlap by more are one object


class EfficientPSWithTTA(PanopticNetwork):
    """A model with the interface of :class:`EfficientPS` at inference."""

    def __init__(
        self,
        model: EfficientPS,
        *,
        scales: Sequence[float],
        flip: bool = True,
        max_candidates: int = 500,
        max_detections: int = 100,
        nms_kernel: str = "gaussian",
        nms_sigma: float = 2.0,
        min_score: float = 0.05,
    ) -> None:
        """
        Args:
            model: makes the predictions of the views.
            scales: factors on the size that the model sees without augmentation.
            flip: look at the mirrored image as well.
            max_candidates: instances of all views that enter Matrix NMS at most.
            max_detections: instances of the result at most.
            nms_kernel, nms_sigma: of Matrix NMS.
            min_score: instances of the result below it are dropped.

        Raises:
            ConfigError: no scale, or one that is not positive.
        """
        super().__init__()
        if not scales or min(scales) <= 0:
            raise ConfigError(f"TEST.AUG.SCALES is {list(scales)}; it needs positive factors")
        self.model = model
        self.scales = tuple(float(scale) for scale in scales)
        self.flip, self._views_per_scale = flip, 1 + flip
        self.max_candidates, self.max_detections = max_candidates, max_detections
        self.nms_kernel, self.nms_sigma = nms_kernel, nms_sigma
        self.min_score = min_score

    @classmethod
    def from_config(cls, cfg: CfgNode, model: EfficientPS) -> "EfficientPSWithTTA":
        """What ``TEST.AUG`` says; Matrix NMS as in ``MODEL.SOLOV2``, whatever the instance head."""
        node = cfg.MODEL.SOLOV2
        return cls(
            model,
            scales=cfg.TEST.AUG.SCALES,
            flip=cfg.TEST.AUG.FLIP,
            max_candidates=node.NMS_PRE,
            max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
            nms_kernel=node.NMS_KERNEL,
            nms_sigma=node.NMS_SIGMA,
            min_score=node.UPDATE_THRESH,
        )

    def forward(self, batched_inputs: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
        """See :meth:`EfficientPS.forward` at inference."""
        return self.inference(batched_inputs)

    def inference(
        self,
        batched_inputs: List[Dict[str, Any]],
        *,
        outputs: Optional[Sequence[str]] = None,
        thresholds: Optional[FusionThresholds] = None,
        whole_masks: bool = True,
    ) -> List[Dict[str, Any]]:
        """See :meth:`PanopticNetwork.inference`. Images are taken one by one."""
        outputs = self.model.outputs if outputs is None else tuple(outputs)
        wanted: Dict[str, Any] = {
            "outputs": outputs,
            "thresholds": thresholds,
            "whole_masks": whole_masks,
        }
        return [self.model.image_outputs(*self._heads(x), **wanted) for x in batched_inputs]

    def unfused(
        self, batched_inputs: List[Dict[str, Any]], *, min_score: float = 0.0
    ) -> List[Unfused]:
        """See :meth:`PanopticNetwork.unfused`."""
        return [
            Unfused(instances.scores, partial(self.model.fusion.forward, logits, instances, size))
            for logits, instances, size in map(self._heads, batched_inputs)
        ]

    def _heads(self, x: Dict[str, Any]) -> Tuple[Optional[torch.Tensor], Instances, Size]:
        """Semantic logits and instances of all views together, and the size of the output."""
        image = x["image"].to(self.model.device)
        size = stride4_size(image.shape[-2:])
        semantic_sum: Optional[torch.Tensor] = None
        found: Optional[Candidates] = None
        for number, scale in enumerate(self.scales):
            of_scale: Optional[torch.Tensor] = None
            for mirrored in (False, True)[: self._views_per_scale]:
                view = scaled_image(image.flip(-1) if mirrored else image, scale)
                logits, instances = self.model.head_outputs([{"image": view}], scale=scale)[0]
                of_scale = _plus(of_scale, _on_image(logits, instances, size, mirrored))
                index = number * self._views_per_scale + mirrored
                new = _candidates(instances, index, size, mirrored)
                found = (found.joined(new) if found else new).best(self.max_candidates)
            semantic_sum = _plus(semantic_sum, of_scale)
        assert found is not None  # there is a scale
        num_views = len(self.scales) * self._views_per_scale
        semantic_logits = None if semantic_sum is None else semantic_sum / num_views
        output_size = output_size_of(x, tuple(image.shape[-2:]))
        return semantic_logits, self._merge(found), output_size

    def _merge(self, found: "Candidates") -> Instances:
        """One instance of every object, best first, in a frame that the stride-4 map covers exactly."""
        found = found.best(len(found.scores))
        iou = same_class_iou(mask_intersections(found.masks > 0), found.classes)
        decayed = decayed_scores(iou, found.scores, kernel=self.nms_kernel, sigma=self.nms_sigma)
        same = iou >= SAME_OBJECT_IOU
        support = mean_support(found, same, len(self.scales), self._views_per_scale)
        # Matrix NMS lowers the scores of repetitions; what few views have seen is lowered, too.
        scores, order = (decayed / found.scores * support).sort(descending=True, stable=True)
        order = order[scores >= self.min_score][: self.max_detections]
        masks = mean_masks(found, same[order])
        result = Instances(tuple(STRIDE * side for side in masks.shape[-2:]))
        result.scores = scores[: len(order)]
        result.thing_index = found.classes[order]
        result.pred_boxes = Boxes(boxes_from_masks(masks > 0) * STRIDE)
        result.mask_source = Stride4Masks(masks)
        return result


class Candidates(NamedTuple):
    """Instances of several views of an image."""

    scores: torch.Tensor  # (K,) in (0, 1]
    classes: torch.Tensor  # (K,) thing index
    views: torch.Tensor  # (K,) number of the view
    masks: torch.Tensor  # (K, h, w) logits

    def joined(self, others: "Candidates") -> "Candidates":
        """Both, these first."""
        return Candidates(*map(torch.cat, zip(self, others)))

    def best(self, count: int) -> "Candidates":
        """At most ``count``, in descending order of score."""
        order = self.scores.argsort(descending=True, stable=True)[:count]
        return Candidates(*(field[order] for field in self))


def mean_support(
    found: Candidates, same: torch.Tensor, num_scales: int, views_per_scale: int
) -> torch.Tensor:
    """How sure all the views together are of each instance.

    Args:
        same: (K, K) bool, which instances show the same object.

    Returns:
        (K,) the mean over the views of the best score that a view gives to the object; 0 of a view
        that does not see it.
    """
    support = found.scores.new_zeros(len(found.scores), num_scales * views_per_scale)
    for view in range(support.shape[1]):
        members = found.views == view
        if members.any():
            support[:, view] = (same[:, members] * found.scores[members]).max(dim=1).values
    # First over the two views of a scale, whose order does not matter then.
    of_scale = support.unflatten(1, (num_scales, views_per_scale)).sum(dim=2)
    return of_scale.sum(dim=1) / support.shape[1]


def mean_masks(found: Candidates, same: torch.Tensor) -> torch.Tensor:
    """The logits of objects, averaged over the instances that show them, weighted by scores.

    Args:
        same: (n, K) bool, the instances of each object, at least one.

    Returns:
        (n, h, w).
    """
    if not works_in_parts(found.masks):
        weights = found.scores * same
        weights = weights / weights.sum(dim=1, keepdim=True)
        with torch.autocast(weights.device.type, enabled=False):
            means = weights @ found.masks.flatten(1)
        return means.unflatten(1, found.masks.shape[1:])
    masks = found.masks.new_zeros(len(same), *found.masks.shape[1:])
    for mask, members in zip(masks, same):
        weights = found.scores * members
        for k in members.nonzero().flatten().tolist():
            # Not add_(alpha=...), which rounds differently at the end of a row.
            mask += found.masks[k] * (weights[k] / weights.sum())
    return masks


def scaled_image(image: torch.Tensor, scale: float) -> torch.Tensor:
    """(3, h, w) -> (3, scale h, scale w), rounded, float where it is not the image itself."""
    if scale == 1.0:
        return image
    size = [max(1, round(side * scale)) for side in image.shape[-2:]]
    return F.interpolate(image[None].float(), size=size, mode="bilinear", antialias=True)[0]


def _on_image(
    semantic_logits: Optional[torch.Tensor], instances: Instances, size: Size, mirrored: bool
) -> Optional[torch.Tensor]:
    """(C, h, w) logits of a view on the map of the image; None as it is."""
    if semantic_logits is None:
        return None
    logits = resample(semantic_logits.float(), instances.image_size, size)
    return logits.flip(-1) if mirrored else logits


def _candidates(instances: Instances, view: int, size: Size, mirrored: bool) -> Candidates:
    """The instances of a view with masks on the map of the image, those whose mask is lost left out."""
    masks = instances.mask_source.frame_logits(instances.image_size, size)
    # Interpolated probabilities can be 0 or 1, whose logits are infinite.
    masks = masks.clamp(-MAX_LOGIT, MAX_LOGIT)
    masks = masks.flip(-1) if mirrored else masks
    kept = (masks > 0).flatten(1).any(dim=1) & (instances.scores > 0)
    views = torch.full_like(instances.thing_index, view)
    return Candidates(instances.scores[kept], instances.thing_index[kept], views[kept], masks[kept])


def _plus(total: Optional[torch.Tensor], more: Optional[torch.Tensor]) -> Optional[torch.Tensor]:
    """The sum; of None the other."""
    if total is None or more is None:
        return more if total is None else total
    return total + more
