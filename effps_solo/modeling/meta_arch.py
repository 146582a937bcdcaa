"""EfficientPS: one network from an image to a panoptic map.

    image -> backbone and neck -> {semantic head | instance head} -> panoptic fusion

N images, padded to (Hp, Wp); C classes, T of them things.
"""

from functools import partial
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.backbone import Backbone
from detectron2.structures import ImageList, Instances

from effps_solo.structures.label_space import PanopticLabelSpace

from .checks import check_class_counts, check_logits, check_losses
from .fusion import FusionThresholds, PanopticFusion, build_panoptic_fusion
from .instance_head import (
    InstanceHead,
    InstanceTargets,
    StepTotals,
    build_instance_head,
    total_over_processes,
)
from .outputs import OUTPUTS, PanopticNetwork, Unfused, check_outputs, output_size_of
from .postprocessing import instances_to_output
from .sem_seg_head import SemanticHead, build_semantic_head
from .upsampling import STRIDE, stride4_size, upsample_logits


@META_ARCH_REGISTRY.register()
class EfficientPS(PanopticNetwork):
    """EfficientPS (Mohan & Valada, IJCV 2021) with an exchangeable instance head."""

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        sem_seg_head: Optional[SemanticHead],
        instance_head: InstanceHead,
        fusion: PanopticFusion,
        label_space: PanopticLabelSpace,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str = "RGB",
        outputs: Sequence[str] = OUTPUTS,
    ) -> None:
        """
        Args:
            backbone: with neck; returns a dict of features.
            sem_seg_head: see :class:`SemanticHead`; None: the model makes instances only.
            instance_head: see :class:`InstanceHead`.
            fusion: see :class:`PanopticFusion`; idle without a semantic head.
            label_space: of the data set.
            pixel_mean, pixel_std: per channel, in units of the input image (0 .. 255).
            input_format: order of the channels, "RGB" or "BGR"; for visualisation only.
            outputs: what inference makes, of "panoptic_seg", "sem_seg", "instances".

        Raises:
            ConfigError: a head's class count disagrees with the data set, there is nothing to
                learn, an unknown output, or one that needs a semantic head.
        """
        super().__init__()
        check_class_counts(sem_seg_head, instance_head, label_space)
        check_outputs(outputs, sem_seg_head)
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head
        self.instance_head = instance_head
        self.fusion = fusion
        self.label_space = label_space
        self.input_format = input_format
        self.outputs = tuple(outputs)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)
        # Depthwise convolutions are several times faster so, on CPU and GPU.
        self.to(memory_format=torch.channels_last)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Dict[str, Any]:
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        label_space = PanopticLabelSpace.from_metadata(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]))
        return {
            "backbone": backbone,
            "sem_seg_head": build_semantic_head(cfg, shapes),
            "instance_head": build_instance_head(cfg, shapes),
            "fusion": build_panoptic_fusion(cfg, label_space),
            "label_space": label_space,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
            "outputs": cfg.MODEL.OUTPUTS,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: List[Dict[str, Any]], totals: Optional[StepTotals] = None
    ) -> Any:
        """
        Args:
            batched_inputs: N dicts in Detectron2's format. "image": (3, H, W) in ``input_format``.
                In training also what PanopticDatasetMapper adds: "sem_seg" (H, W), "instances" and
                "instance_ignore" (ceil(H/4), ceil(W/4)). At inference optionally "height" and
                "width" of the output.
            totals: of the training step that the images are a part of; None: these are all the
                images of this process.

        Returns:
            training: a dict of scalar losses. Inference: N dicts with the requested keys,
            "panoptic_seg" ((H, W) int32, segments_info), "sem_seg" (C, H, W) logits, "instances".
        """
        if self.training:
            return self.losses(batched_inputs, totals)
        return self.inference(batched_inputs)

    def losses(
        self,
        batched_inputs: List[Dict[str, Any]],
        totals: Optional[StepTotals] = None,
        *,
        whole_images: bool = False,
    ) -> Dict[str, torch.Tensor]:
        """Scalar losses by name; in evaluation mode those of validation. See :meth:`forward`.

        Args:
            whole_images: the images are whole ones as at inference, not training crops.
        """
        images = self._preprocess(batched_inputs)
        features = self.backbone(images.tensor)
        padded_size = (images.tensor.shape[-2], images.tensor.shape[-1])
        losses: Dict[str, torch.Tensor] = {}
        if self.sem_seg_head is not None:
            sem_seg = self._semantic_targets(batched_inputs, padded_size)
            logits = self.sem_seg_head(features)
            check_logits(self.sem_seg_head, logits, padded_size)
            losses.update(self.sem_seg_head.losses(logits, sem_seg))
        targets = self._instance_targets(batched_inputs, padded_size, whole_images)
        totals = totals or total_over_processes(targets.counts)
        losses.update(self.instance_head.losses(features, images.image_sizes, targets, totals))
        check_losses(losses)
        return losses

    def inference(
        self,
        batched_inputs: List[Dict[str, Any]],
        *,
        outputs: Optional[Sequence[str]] = None,
        thresholds: Optional[FusionThresholds] = None,
        whole_masks: bool = True,
    ) -> List[Dict[str, Any]]:
        """See :meth:`PanopticNetwork.inference`."""
        outputs = self.outputs if outputs is None else tuple(outputs)
        # The fusion does not look at instances below its threshold.
        min_score = 0.0 if "instances" in outputs else (thresholds or self.fusion.thresholds).score
        return [
            self.image_outputs(
                logits,
                instances,
                output_size_of(x, instances.image_size),
                outputs=outputs,
                thresholds=thresholds,
                whole_masks=whole_masks,
            )
            for x, (logits, instances) in zip(
                batched_inputs, self.head_outputs(batched_inputs, min_score=min_score)
            )
        ]

    def unfused(
        self, batched_inputs: List[Dict[str, Any]], *, min_score: float = 0.0
    ) -> List[Unfused]:
        """See :meth:`PanopticNetwork.unfused`."""
        found = self.head_outputs(batched_inputs, min_score=min_score)
        sizes = [output_size_of(x, each.image_size) for x, (_, each) in zip(batched_inputs, found)]
        return [
            Unfused(instances.scores, partial(self.fusion.forward, logits, instances, size))
            for (logits, instances), size in zip(found, sizes)
        ]

    def count_targets(self, batched_inputs: List[Dict[str, Any]]) -> torch.Tensor:
        """(n,) what the losses of these images are divided by, see :class:`StepTotals`."""
        sizes = [x["image"].shape[-2:] for x in batched_inputs]
        unit = max(self._size_divisor(sizes), 1)
        height, width = (-(-max(lengths) // unit) * unit for lengths in zip(*sizes))
        return self._instance_targets(batched_inputs, (height, width)).counts

    def _preprocess(self, batched_inputs: List[Dict[str, Any]]) -> ImageList:
        images = [x["image"].to(self.device) for x in batched_inputs]
        images = [(x - self.pixel_mean) / self.pixel_std for x in images]
        batch = ImageList.from_tensors(images, self._size_divisor([x.shape[-2:] for x in images]))
        return ImageList(
            batch.tensor.contiguous(memory_format=torch.channels_last), batch.image_sizes
        )

    def _size_divisor(self, image_sizes: Sequence[Tuple[int, int]]) -> int:
        divisor: int = self.backbone.size_divisibility
        # Batch norms do not train on the one point that is the coarsest level of an image, and how
        # many images a process sees at once makes no difference.
        small = max(side for size in image_sizes for side in size) <= divisor
        return 2 * divisor if self.training and small else divisor

    def _semantic_targets(
        self, batched_inputs: List[Dict[str, Any]], padded_size: Tuple[int, int]
    ) -> torch.Tensor:
        """sem_seg (N, Hp, Wp); padding is void."""
        shape = (len(batched_inputs), *padded_size)
        sem_seg = torch.full(shape, self.label_space.ignore_label, device=self.device)
        for i, x in enumerate(batched_inputs):
            height, width = x["sem_seg"].shape
            sem_seg[i, :height, :width] = x["sem_seg"].to(self.device)
        return sem_seg

    def _instance_targets(
        self,
        batched_inputs: List[Dict[str, Any]],
        padded_size: Tuple[int, int],
        whole_images: bool = False,
    ) -> InstanceTargets:
        """Those of the instance head; padding is not ignored."""
        height, width = padded_size
        shape = (len(batched_inputs), height // STRIDE, width // STRIDE)
        ignore = torch.zeros(shape, dtype=torch.bool, device=self.device)
        for i, x in enumerate(batched_inputs):
            rows, columns = x["instance_ignore"].shape
            ignore[i, :rows, :columns] = x["instance_ignore"].to(self.device)
        instances = [x["instances"].to(self.device) for x in batched_inputs]
        return self.instance_head.targets(padded_size, instances, ignore, whole_images=whole_images)

    def head_outputs(
        self, batched_inputs: List[Dict[str, Any]], *, min_score: float = 0.0, scale: float = 1.0
    ) -> List[Tuple[Optional[torch.Tensor], Instances]]:
        """What the two heads say of each image, before the fusion.

        Args:
            min_score, scale: see :meth:`InstanceHead.inference`.

        Returns:
            N pairs of semantic logits (C, ceil(h/4), ceil(w/4)) of the image without padding - None
            without a semantic head - and instances, see :meth:`InstanceHead.inference`.
        """
        images = self._preprocess(batched_inputs)
        features = self.backbone(images.tensor)
        semantic_logits: List[Optional[torch.Tensor]] = [None] * len(images)
        if self.sem_seg_head is not None:
            padded = self.sem_seg_head(features)
            sizes = [stride4_size(size) for size in images.image_sizes]
            semantic_logits = [x[:, :rows, :columns] for x, (rows, columns) in zip(padded, sizes)]
        found = self.instance_head.inference(
            features, images.image_sizes, min_score=min_score, scale=scale
        )
        return list(zip(semantic_logits, found))

    def image_outputs(
        self,
        semantic_logits: Optional[torch.Tensor],
        instances: Instances,
        output_size: Tuple[int, int],
        *,
        outputs: Sequence[str],
        thresholds: Optional[FusionThresholds] = None,
        whole_masks: bool = True,
    ) -> Dict[str, Any]:
        """The outputs of one image.

        Args:
            semantic_logits, instances: as :meth:`head_outputs` gives them.
            output_size: (H, W).
            outputs, thresholds, whole_masks: see :meth:`inference`.
        """
        result: Dict[str, Any] = {}
        if semantic_logits is not None and "panoptic_seg" in outputs:
            result["panoptic_seg"] = self.fusion(
                semantic_logits, instances, output_size, thresholds
            )
        if semantic_logits is not None and "sem_seg" in outputs:
            logits = semantic_logits.float()
            result["sem_seg"] = upsample_logits(logits, instances.image_size, output_size)
        if "instances" in outputs:
            result["instances"] = instances_to_output(
                instances, output_size, self.label_space, whole_masks=whole_masks
            )
        return result
