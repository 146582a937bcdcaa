"""Detectron2's PanopticFPN (Kirillov et al., CVPR 2019) on our data sets: a baseline to compare with.

Networks, losses and the merging of both outputs are Detectron2's own. How they are merged the keys of
MODEL.PANOPTIC_FUSION say, which hold for all methods: its thresholds, the smallest stuff area as a
fraction of the image, and VOID_UNCLAIMED_THINGS. It knows two label spaces: its semantic head tells
0 for all things together and 1 .. S for the stuff, its box head a thing index. Here they are
translated from what PanopticDatasetMapper gives and to what the evaluators expect, in which things
may have any contiguous ids.

Unlike EfficientPS's Mask R-CNN head it takes proposals in crowds and void for negatives.

C classes, T of them things, S = C - T stuff; H x W output pixels.
"""

from functools import partial
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY, PanopticFPN
from detectron2.modeling.meta_arch.panoptic_fpn import combine_semantic_and_instance_outputs
from detectron2.modeling.postprocessing import detector_postprocess, sem_seg_postprocess
from detectron2.structures import ImageList, Instances

from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.utils.errors import ConfigError

from .fusion import FusionThresholds
from .fusion.segments import mean_winning_probability
from .instance_head import StepTotals
from .outputs import OUTPUTS, PanopticNetwork, Unfused, check_outputs, output_size_of

THINGS = 0  # Detectron2's semantic label of all things
_TARGET_FIELDS = ("gt_boxes", "gt_classes", "gt_masks")
_OTHER_SEM_SEG_HEADS = ("", "EfficientPSSemanticHead")
_SCORE_STRIDE = 4  # pixels between those that the score of a stuff segment is the mean of


@META_ARCH_REGISTRY.register()
class LabelSpacePanopticFPN(PanopticFPN, PanopticNetwork):
    """PanopticFPN that trains on and returns contiguous ids, as :class:`EfficientPS` does."""

    things_share_a_channel = True

    @configurable
    def __init__(
        self,
        *,
        label_space: PanopticLabelSpace,
        thresholds: FusionThresholds = FusionThresholds(),
        void_unclaimed_things: bool = True,
        outputs: Sequence[str] = OUTPUTS,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            label_space: of the data set.
            thresholds: of the merging, where a call names no others; stand for Detectron2's
                combine_..._thresh, of which one counts pixels.
            void_unclaimed_things: pixels of things that no instance claims are void (Detectron2);
                else they get the best stuff class.
            outputs: what inference returns, of "panoptic_seg", "sem_seg", "instances".
            kwargs: of Detectron2's PanopticFPN; a semantic head for S + 1 classes, ROI heads for T.

        Raises:
            ConfigError: the data set has no things, or an unknown output.
        """
        super().__init__(**kwargs)
        check_outputs(outputs, self.sem_seg_head)
        if label_space.num_things == 0:
            raise ConfigError(
                "MODEL.META_ARCHITECTURE is LabelSpacePanopticFPN, which needs things, and the data "
                "set has none"
            )
        self.label_space = label_space
        self.thresholds = thresholds
        self.void_unclaimed_things = void_unclaimed_things
        self.outputs = tuple(outputs)
        labels = semantic_labels(label_space, self.sem_seg_head.ignore_value)
        self.register_buffer("_semantic_label_of", labels, persistent=False)
        # As EfficientPS: depthwise convolutions are several times faster so.
        self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict[str, Any]:
        """Detectron2's keys, but for class counts and void, which are those of the data set, and for
        MODEL.PANOPTIC_FUSION in place of MODEL.PANOPTIC_FPN.COMBINE.

        Raises:
            ConfigError: MODEL.SEM_SEG_HEAD is not one for Detectron2's PanopticFPN.
        """
        if cfg.MODEL.SEM_SEG_HEAD.NAME in _OTHER_SEM_SEG_HEADS:
            raise ConfigError(
                f"MODEL.SEM_SEG_HEAD.NAME is '{cfg.MODEL.SEM_SEG_HEAD.NAME}', but "
                "MODEL.META_ARCHITECTURE LabelSpacePanopticFPN needs SemSegFPNHead"
            )
        label_space = PanopticLabelSpace.from_metadata(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]))
        outputs, fusion = cfg.MODEL.OUTPUTS, cfg.MODEL.PANOPTIC_FUSION
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.MASK_ON = True
        cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = len(label_space.stuff_ids) + 1
        cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = label_space.ignore_label
        cfg.MODEL.ROI_HEADS.NUM_CLASSES = label_space.num_things
        arguments = super().from_config(cfg)
        for name in ("overlap", "stuff_area", "instances_score"):
            del arguments[f"combine_{name}_thresh"]
        return {
            **arguments,
            "label_space": label_space,
            "thresholds": FusionThresholds(
                fusion.SCORE_THRESH, fusion.OVERLAP_THRESH, fusion.STUFF_AREA_FRACTION
            ),
            "void_unclaimed_things": fusion.VOID_UNCLAIMED_THINGS,
            "outputs": outputs,
        }

    def count_targets(self, batched_inputs: List[Dict[str, Any]]) -> torch.Tensor:
        """(0,): Detectron2's losses are means over the images that they are given."""
        return torch.zeros(0, dtype=torch.int64)

    def forward(
        self, batched_inputs: List[Dict[str, Any]], totals: Optional[StepTotals] = None
    ) -> Any:
        """See :meth:`EfficientPS.forward`; ``totals`` is of no use here."""
        if not self.training:
            return super().forward(batched_inputs)
        batched_inputs = [self._translated(x) for x in batched_inputs]
        losses = super().forward(batched_inputs)
        ignore_value = self.sem_seg_head.ignore_value
        if all(bool((x["sem_seg"] == ignore_value).all()) for x in batched_inputs):
            # The mean over no pixel is NaN, which would stop the run; its gradients are 0 already.
            losses["loss_sem_seg"] = losses["loss_sem_seg"].nan_to_num()
        return losses

    def _translated(self, x: Dict[str, Any]) -> Dict[str, Any]:
        """A training sample of PanopticDatasetMapper as Detectron2's PanopticFPN wants it."""
        instances = x["instances"]
        # Detectron2 would copy the other fields for every sampled proposal in vain.
        fields = {name: instances.get(name) for name in _TARGET_FIELDS}
        return {
            "image": x["image"],
            "sem_seg": self._semantic_label_of[x["sem_seg"].to(self.device)],
            "instances": Instances(instances.image_size, **fields),
        }

    def preprocess_image(self, batched_inputs: List[Dict[str, Any]]) -> ImageList:
        images = super().preprocess_image(batched_inputs)
        tensor = images.tensor.contiguous(memory_format=torch.channels_last)
        return ImageList(tensor, images.image_sizes)

    def inference(
        self,
        batched_inputs: List[Dict[str, Any]],
        do_postprocess: bool = True,
        *,
        outputs: Optional[Sequence[str]] = None,
        thresholds: Optional[FusionThresholds] = None,
        whole_masks: bool = True,
    ) -> Any:
        """See :meth:`EfficientPS.inference`; without ``do_postprocess`` Detectron2's raw outputs.

        Masks are whole, as Detectron2 makes them.
        """
        if not do_postprocess:
            return PanopticFPN.inference(self, batched_inputs, do_postprocess=False)
        wanted = (self.outputs if outputs is None else outputs, thresholds or self.thresholds)
        return [self._image_outputs(*image, *wanted) for image in self._heads(batched_inputs)]

    def unfused(
        self, batched_inputs: List[Dict[str, Any]], *, min_score: float = 0.0
    ) -> List[Unfused]:
        """See :meth:`PanopticNetwork.unfused`."""
        return [
            Unfused(instances.scores, partial(self._fused, instances, sem_seg))
            for instances, sem_seg in self._heads(batched_inputs)
        ]

    def _heads(self, batched_inputs: List[Dict[str, Any]]) -> List[Tuple[Instances, torch.Tensor]]:
        """Detectron2's post-processing: instances and (S + 1, H, W) logits of each output."""
        found = []
        outputs = PanopticFPN.inference(self, batched_inputs, do_postprocess=False)
        for x, detections, sem_seg in zip(batched_inputs, *outputs):
            image_size = detections.image_size
            size = output_size_of(x, image_size)
            sem_seg = sem_seg_postprocess(sem_seg, image_size, *size)
            found.append((detector_postprocess(detections, *size), sem_seg))
        return found

    def _fused(
        self, instances: Instances, sem_seg: torch.Tensor, thresholds: FusionThresholds
    ) -> Tuple[torch.Tensor, List[Dict[str, Any]]]:
        """Detectron2's merging, then our label space."""
        labels = sem_seg.argmax(dim=0)
        if not self.void_unclaimed_things and self.label_space.stuff_ids:
            labels = sem_seg[1:].argmax(dim=0) + 1
        panoptic_seg, segments = combine_semantic_and_instance_outputs(
            instances,
            labels,
            thresholds.overlap,
            max(1.0, thresholds.stuff_area * labels.numel()),
            thresholds.score,
        )
        return panoptic_seg, self._segments_info(panoptic_seg, segments, sem_seg)

    def _image_outputs(
        self,
        instances: Instances,
        sem_seg: torch.Tensor,
        outputs: Sequence[str],
        thresholds: FusionThresholds,
    ) -> Dict[str, Any]:
        panoptic = self._fused(instances, sem_seg, thresholds)
        result: Dict[str, Any] = {}
        if "panoptic_seg" in outputs:
            result["panoptic_seg"] = panoptic
        if "sem_seg" in outputs:
            result["sem_seg"] = class_logits(sem_seg, *panoptic, self.label_space)
        if "instances" in outputs:
            result["instances"] = self._with_contiguous_ids(instances)
        return result

    def _segments_info(
        self, panoptic_seg: torch.Tensor, segments: List[Dict[str, Any]], sem_seg: torch.Tensor
    ) -> List[Dict[str, Any]]:
        """See :meth:`PanopticFusion.forward`; segments without a pixel are left out."""
        label_space = self.label_space
        areas = torch.bincount(panoptic_seg.flatten(), minlength=len(segments) + 1).tolist()
        logits = sem_seg[:, ::_SCORE_STRIDE, ::_SCORE_STRIDE]
        scores = mean_winning_probability(logits, logits.max(dim=0).indices).tolist()
        result = []
        for segment in segments:
            isthing, number = segment["isthing"], segment["category_id"]
            ids = label_space.thing_ids if isthing else (None, *label_space.stuff_ids)
            score = segment["score"] if isthing else scores[number]
            result.append(
                {
                    "id": segment["id"],
                    "category_id": ids[number],
                    "isthing": isthing,
                    "score": score,
                    "area": areas[segment["id"]],
                }
            )
        return [segment for segment in result if segment["area"] > 0]

    def _with_contiguous_ids(self, instances: Instances) -> Instances:
        thing_ids = torch.tensor(self.label_space.thing_ids, device=self.device)
        instances.pred_classes = thing_ids[instances.pred_classes]
        return instances


def semantic_labels(label_space: PanopticLabelSpace, ignore_value: int) -> torch.Tensor:
    """(max(C, ignore_label + 1),) Detectron2's semantic label of every contiguous id.

    Args:
        ignore_value: Detectron2's label of void, and of ids that no class has.
    """
    size = max(label_space.num_classes, label_space.ignore_label + 1)
    labels = torch.full((size,), ignore_value, dtype=torch.int64)
    labels[list(label_space.thing_ids)] = THINGS
    labels[list(label_space.stuff_ids)] = torch.arange(1, len(label_space.stuff_ids) + 1)
    return labels


def class_logits(
    sem_seg: torch.Tensor,
    panoptic_seg: torch.Tensor,
    segments_info: List[Dict[str, Any]],
    label_space: PanopticLabelSpace,
) -> torch.Tensor:
    """Logits of all classes: the semantic head tells where things are, the instances which.

    Args:
        sem_seg: (S + 1, H, W) logits of things and stuff.
        panoptic_seg, segments_info: the merged output, in contiguous ids.

    Returns:
        (C, H, W); the logit of things goes to the class of the instance at a pixel, other thing
        classes have -inf.
    """
    logits = sem_seg.new_full((label_space.num_classes, *sem_seg.shape[1:]), -torch.inf)
    logits[list(label_space.stuff_ids)] = sem_seg[1:]
    class_of_segment = torch.full((int(panoptic_seg.max()) + 1,), -1, device=sem_seg.device)
    for segment in segments_info:
        class_of_segment[segment["id"]] = segment["category_id"]
    classes = class_of_segment[panoptic_seg.long()]
    for thing_id in label_space.thing_ids:
        logits[thing_id] = sem_seg[THINGS].where(classes == thing_id, logits[thing_id])
    return logits
