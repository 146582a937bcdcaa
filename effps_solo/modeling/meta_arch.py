"""EfficientPS: one network from an image to a panoptic map.

    image -> backbone and neck -> {semantic head | instance head} -> panoptic fusion

N images, padded to (Hp, Wp); C classes, T of them things.
"""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone, build_sem_seg_head
from detectron2.modeling.backbone import Backbone
from detectron2.structures import ImageList, Instances
from torch import nn

from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.utils.errors import ConfigError

from .fusion import PanopticFusion, build_panoptic_fusion
from .instance_head import InstanceHead, StepTotals, build_instance_head
from .postprocessing import STRIDE, instances_to_output, stride4_size, upsample_logits

OUTPUTS = ("panoptic_seg", "sem_seg", "instances")


@META_ARCH_REGISTRY.register()
class EfficientPS(nn.Module):
    """EfficientPS (Mohan & Valada, IJCV 2021) with an exchangeable instance head."""

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        sem_seg_head: Optional[nn.Module],
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
            sem_seg_head: features -> logits (N, C, Hp/4, Wp/4); has ``losses``. None: the model
                makes instances only.
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
        _check_class_counts(sem_seg_head, instance_head, label_space)
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
        has_semantics = bool(cfg.MODEL.SEM_SEG_HEAD.NAME)
        return {
            "backbone": backbone,
            "sem_seg_head": build_sem_seg_head(cfg, shapes) if has_semantics else None,
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
        images = self._preprocess(batched_inputs)
        features = self.backbone(images.tensor)
        if self.training:
            return self._losses(batched_inputs, images, features, totals)
        return self._inference(batched_inputs, images, features)

    def count_targets(self, batched_inputs: List[Dict[str, Any]]) -> torch.Tensor:
        """(n,) what the losses of these images are divided by, see :class:`StepTotals`."""
        sizes = [x["image"].shape[-2:] for x in batched_inputs]
        unit = max(self._size_divisor(sizes), 1)
        height, width = (-(-max(lengths) // unit) * unit for lengths in zip(*sizes))
        padded_size = (height, width)
        instances, ignore = self._instance_targets(batched_inputs, padded_size)
        return self.instance_head.count_targets(padded_size, instances, ignore)

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

    def _losses(
        self,
        batched_inputs: List[Dict[str, Any]],
        images: ImageList,
        features: Dict[str, torch.Tensor],
        totals: Optional[StepTotals],
    ) -> Dict[str, torch.Tensor]:
        losses: Dict[str, torch.Tensor] = {}
        if self.sem_seg_head is not None:
            sem_seg = self._semantic_targets(batched_inputs, images)
            losses.update(self.sem_seg_head.losses(self.sem_seg_head(features), sem_seg))
        targets = self._instance_targets(batched_inputs, images.tensor.shape[-2:])
        losses.update(self.instance_head.losses(features, images.image_sizes, *targets, totals))
        return losses

    def _semantic_targets(
        self, batched_inputs: List[Dict[str, Any]], images: ImageList
    ) -> torch.Tensor:
        """sem_seg (N, Hp, Wp); padding is void."""
        shape = (len(batched_inputs), *images.tensor.shape[-2:])
        sem_seg = torch.full(shape, self.label_space.ignore_label, device=self.device)
        for i, x in enumerate(batched_inputs):
            height, width = x["sem_seg"].shape
            sem_seg[i, :height, :width] = x["sem_seg"].to(self.device)
        return sem_seg

    def _instance_targets(
        self, batched_inputs: List[Dict[str, Any]], padded_size: Tuple[int, int]
    ) -> Tuple[List[Instances], torch.Tensor]:
        """Instances, and ignore masks (N, Hp/4, Wp/4) bool; padding is not ignored."""
        height, width = padded_size
        shape = (len(batched_inputs), height // STRIDE, width // STRIDE)
        ignore = torch.zeros(shape, dtype=torch.bool, device=self.device)
        for i, x in enumerate(batched_inputs):
            rows, columns = x["instance_ignore"].shape
            ignore[i, :rows, :columns] = x["instance_ignore"].to(self.device)
        return [x["instances"].to(self.device) for x in batched_inputs], ignore

    def _inference(
        self,
        batched_inputs: List[Dict[str, Any]],
        images: ImageList,
        features: Dict[str, torch.Tensor],
    ) -> List[Dict[str, Any]]:
        # Nobody sees the instances below the fusion's threshold if only the panoptic map is wanted.
        min_score = 0.0 if "instances" in self.outputs else self.fusion.score_thresh
        return [
            self.image_outputs(logits, instances, output_size_of(x, instances.image_size))
            for x, (logits, instances) in zip(
                batched_inputs, self._head_outputs(images, features, min_score)
            )
        ]

    def head_outputs(
        self, batched_inputs: List[Dict[str, Any]], min_score: float = 0.0
    ) -> List[Tuple[Optional[torch.Tensor], Instances]]:
        """What the two heads say of each image, before the fusion.

        Args:
            min_score: the caller has no use for instances below it.

        Returns:
            N pairs of semantic logits (C, ceil(h/4), ceil(w/4)) of the image without padding - None
            without a semantic head - and instances, see :meth:`InstanceHead.inference`.
        """
        images = self._preprocess(batched_inputs)
        return self._head_outputs(images, self.backbone(images.tensor), min_score)

    def _head_outputs(
        self, images: ImageList, features: Dict[str, torch.Tensor], min_score: float
    ) -> List[Tuple[Optional[torch.Tensor], Instances]]:
        semantic_logits: List[Optional[torch.Tensor]] = [None] * len(images)
        if self.sem_seg_head is not None:
            padded = self.sem_seg_head(features)
            sizes = [stride4_size(size) for size in images.image_sizes]
            semantic_logits = [x[:, :rows, :columns] for x, (rows, columns) in zip(padded, sizes)]
        detections = self.instance_head.inference(features, images.image_sizes, min_score)
        return list(zip(semantic_logits, detections))

    def image_outputs(
        self,
        semantic_logits: Optional[torch.Tensor],
        instances: Instances,
        output_size: Tuple[int, int],
    ) -> Dict[str, Any]:
        """The requested outputs of one image.

        Args:
            semantic_logits, instances: as :meth:`head_outputs` gives them.
            output_size: (H, W).
        """
        result: Dict[str, Any] = {}
        if semantic_logits is not None:
            result.update(self._semantic_outputs(semantic_logits, instances, output_size))
        if "instances" in self.outputs:
            result["instances"] = instances_to_output(instances, output_size, self.label_space)
        return result

    def _semantic_outputs(
        self, semantic_logits: torch.Tensor, instances: Instances, output_size: Tuple[int, int]
    ) -> Dict[str, Any]:
        """Of one image "panoptic_seg" and "sem_seg", as far as they are requested."""
        result: Dict[str, Any] = {}
        if "panoptic_seg" in self.outputs:
            result["panoptic_seg"] = self.fusion(semantic_logits, instances, output_size)
        if "sem_seg" in self.outputs:
            logits = semantic_logits.float()
            result["sem_seg"] = upsample_logits(logits, instances.image_size, output_size)
        return result


def output_size_of(x: Dict[str, Any], image_size: Tuple[int, int]) -> Tuple[int, int]:
    """(H, W) of the output that an input dict asks for; that of the network's image by default."""
    return int(x.get("height", image_size[0])), int(x.get("width", image_size[1]))


def _check_class_counts(
    sem_seg_head: Optional[nn.Module],
    instance_head: InstanceHead,
    label_space: PanopticLabelSpace,
) -> None:
    counts = [
        ("MODEL.INSTANCE_HEAD", instance_head.num_classes, "thing classes", label_space.num_things)
    ]
    if sem_seg_head is not None:
        counts.append(
            ("MODEL.SEM_SEG_HEAD", sem_seg_head.num_classes, "classes", label_space.num_classes)
        )
    for node, configured, what, actual in counts:
        if configured != actual:
            raise ConfigError(
                f"{node}.NUM_CLASSES is {configured}, but the data set has {actual} {what}; "
                f"set it to {actual}, or to -1 to take it from the data"
            )
    if sem_seg_head is None and label_space.num_things == 0:
        raise ConfigError(
            "the data set has no thing classes, and without a semantic head (MODEL.SEM_SEG_HEAD.NAME "
            "is '') there is nothing to learn; name a semantic head"
        )


def check_outputs(outputs: Sequence[str], sem_seg_head: Optional[nn.Module]) -> None:
    """Raise ConfigError for an output that is unknown or needs the semantic head that is missing."""
    unknown = sorted(set(outputs) - set(OUTPUTS))
    if unknown:
        raise ConfigError(f"MODEL.OUTPUTS names {unknown}; choose from {OUTPUTS}")
    if sem_seg_head is None and list(outputs) != ["instances"]:
        raise ConfigError(
            f"MODEL.OUTPUTS is {list(outputs)}, but without a semantic head (MODEL.SEM_SEG_HEAD.NAME "
            "is '') it must be ['instances']"
        )
