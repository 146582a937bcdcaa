"""Detectron2's own panoptic networks to compare with, untrained. Jobs of a worker.

An untrained network costs another time than a trained one: its activations grow from layer to layer until
few proposals are left, and it finds nothing, or as many things as it may. So the statistics of its norms
are those of an image, and it finds as many things as the model that it is compared with.
"""

import contextlib
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple

import detectron2
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import MetadataCatalog
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_model
from torch import nn

from effps_solo.inference.predictor import Predictor
from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.utils.errors import ConfigError
from effps_solo.utils.image_io import read_image

from .measure import count_macs, count_parameters
from .torch_backends import TorchJob, open_config
from .worker import Answer, Task

_PANOPTIC_FPN = "model_zoo/configs/COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml"
# The Cityscapes config of Detectron2's project Panoptic-DeepLab, where it differs from the project's
# defaults: ResNet-52, separable convolutions.
_PANOPTIC_DEEPLAB: Dict[str, Any] = {
    "MODEL.META_ARCHITECTURE": "PanopticDeepLab",
    "MODEL.BACKBONE.NAME": "build_resnet_deeplab_backbone",
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res5"],
    "MODEL.RESNETS.NORM": "BN",
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 128,
    "MODEL.RESNETS.RES5_DILATION": 2,
    "MODEL.SEM_SEG_HEAD.NAME": "PanopticDeepLabSemSegHead",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": ["res2", "res3", "res5"],
    "MODEL.SEM_SEG_HEAD.PROJECT_FEATURES": ["res2", "res3"],
    "MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS": [32, 64],
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": 256,
    "MODEL.SEM_SEG_HEAD.NORM": "BN",
    "MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV": True,
    "MODEL.INS_EMBED_HEAD.NORM": "BN",
    "MODEL.PANOPTIC_DEEPLAB.USE_DEPTHWISE_SEPARABLE_CONV": True,
    # Instances beside the panoptic map would cost extra.
    "MODEL.PANOPTIC_DEEPLAB.PREDICT_INSTANCES": False,
}


class BaselineJob(TorchJob):
    """A job that also counts, for nobody did it before."""

    def finish(self) -> Answer:
        """{"peak_memory_bytes", "loaded_memory_bytes", "parameters", "macs"}."""
        answer = super().finish()  # first: counting takes memory, too
        image = read_image(self.images[0], self.predictor.image_format)
        answer["parameters"] = count_parameters(self.predictor.model)
        answer["macs"] = count_macs(lambda: self.predictor.panoptic(image))
        return answer


def open_job(task: Task) -> BaselineJob:
    """Of a task of kind panoptic-fpn, panoptic-fpn-shipped or panoptic-deeplab.

    Raises:
        ConfigError: this Detectron2 comes without Panoptic-DeepLab.
    """
    cfg = open_config(task)
    has_boxes = task.kind != "panoptic-deeplab"
    build = build_panoptic_fpn if has_boxes else build_panoptic_deeplab
    predictor = Predictor(cfg, model=build(cfg, task.num_things))
    image = read_image(task.images[0], predictor.image_format)
    with settled_statistics(predictor.model):
        predictor(image)
    if has_boxes and task.num_things:
        find_only_the_best(predictor.model, lambda: predictor(image)["instances"].scores)
    return BaselineJob(predictor, task, cfg.MODEL.DEVICE, draws=False, has_stages=True)


def build_panoptic_fpn(cfg: CfgNode, num_things: int) -> nn.Module:
    """Detectron2's Panoptic FPN with a ResNet-50 for the classes and the device of ``cfg``."""
    space = PanopticLabelSpace.from_metadata(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]))
    own = get_cfg()
    own.merge_from_file(str(Path(detectron2.__file__).parent / _PANOPTIC_FPN))
    settings = {
        "MODEL.ROI_HEADS.NUM_CLASSES": max(space.num_things, 1),
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": len(space.stuff_ids) + 1,
        # Of no score above 1 there is a box.
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0 if num_things else 1.0,
        "TEST.DETECTIONS_PER_IMAGE": max(num_things, 1),
        # Everything that is found enters the map, whatever its score.
        "MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH": 0.0,
    }
    return _build(own, settings, cfg)


@contextlib.contextmanager
def settled_statistics(model: nn.Module) -> Iterator[None]:
    """Inference in this context makes the statistics of every norm those of what enters it."""

    def settle(norm: nn.Module, inputs: Tuple[torch.Tensor]) -> None:
        dims = (0, 2, 3)
        norm.running_mean.copy_(inputs[0].mean(dims))
        norm.running_var.copy_(inputs[0].var(dims, unbiased=False))

    norms = [m for m in model.modules() if isinstance(m, (FrozenBatchNorm2d, nn.BatchNorm2d))]
    hooks = [norm.register_forward_pre_hook(settle) for norm in norms]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def find_only_the_best(model: nn.Module, detect: Any) -> None:
    """Raise the threshold of the box head to the scores that survive without one.

    Else every class of every proposal is a box for the non-maximum suppression, as of no trained
    network.

    Args:
        detect: () -> (K,) scores of the detections.
    """
    scores = detect()
    if len(scores):
        # The lowest itself is to stay.
        model.roi_heads.box_predictor.test_score_thresh = scores.min().item() * (1 - 1e-6)


def build_panoptic_deeplab(cfg: CfgNode, num_things: int) -> nn.Module:
    """Detectron2's Panoptic-DeepLab with a ResNet-52 for the classes and the device of ``cfg``."""
    try:
        from detectron2.projects.panoptic_deeplab import add_panoptic_deeplab_config
    except ImportError as error:
        raise ConfigError(
            f"not part of this Detectron2 (detectron2.projects.panoptic_deeplab: {error})"
        ) from error
    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    if not hasattr(metadata, "label_divisor"):
        metadata.label_divisor = 1000  # Detectron2's
    own = get_cfg()
    add_panoptic_deeplab_config(own)
    settings = {
        **_PANOPTIC_DEEPLAB,
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES": PanopticLabelSpace.from_metadata(metadata).num_classes,
        # It takes all centres that are better than the last of the best.
        "MODEL.PANOPTIC_DEEPLAB.TOP_K_INSTANCE": num_things + 1,
        "MODEL.PANOPTIC_DEEPLAB.CENTER_THRESHOLD": 0.0 if num_things else float("inf"),
        "DATASETS.TRAIN": tuple(cfg.DATASETS.TRAIN),
    }
    return _build(own, settings, cfg)


def _build(own: CfgNode, settings: Dict[str, Any], cfg: CfgNode) -> nn.Module:
    own.merge_from_list([word for pair in settings.items() for word in pair])
    own.MODEL.DEVICE = cfg.MODEL.DEVICE
    torch.manual_seed(0)
    return build_model(own)
