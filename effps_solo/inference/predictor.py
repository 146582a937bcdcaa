"""Prediction on single images with a model in torch."""

import logging
import os
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from detectron2.modeling.meta_arch.panoptic_fpn import combine_semantic_and_instance_outputs
from detectron2.structures import Instances
from torch import nn

from effps_solo.checkpoint.checkpointer import IMAGENET_PREFIX, EffPSCheckpointer
from effps_solo.config.setup import check_device
from effps_solo.data.augmentation import build_augmentations
from effps_solo.modeling.outputs import FusionThresholds, PanopticNetwork
from effps_solo.structures.classes import classes_from_metadata
from effps_solo.utils.errors import ConfigError

from .preparation import build_inference_model

logger = logging.getLogger(__name__)

FINAL_WEIGHTS = "model_final.pth"  # in OUTPUT_DIR, at the end of a training
_SEGMENT_KEYS = ("id", "category_id", "isthing", "score")


class Predictor:
    """A trained model behind one call: image in, Detectron2's output dict out.

    Attributes:
        model: in eval mode.
        image_format: order of the channels that it wants, "RGB" or "BGR".
        classes: of the data set that it was trained on, by contiguous id.
        confidence_threshold: lowest score of a thing in the panoptic map, in [0, 1].
    """

    def __init__(
        self, cfg: CfgNode, allow_unsafe: bool = False, model: Optional[nn.Module] = None
    ) -> None:
        """
        Args:
            cfg: of a trained model; ``MODEL.WEIGHTS`` is its checkpoint, else CheckpointError.
            allow_unsafe: load a checkpoint that can run code.
            model: taken as it is; None: built and loaded as ``cfg`` says.
        """
        self.model = (_trained_model(cfg, allow_unsafe) if model is None else model).eval()
        self.image_format = cfg.INPUT.FORMAT
        self.classes = classes_from_metadata(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]))
        self._augmentations = T.AugmentationList(build_augmentations(cfg, is_train=False))
        node = cfg.MODEL.PANOPTIC_FUSION
        self.confidence_threshold = node.SCORE_THRESH
        self._others = (node.OVERLAP_THRESH, node.STUFF_AREA_FRACTION)

    @torch.inference_mode()
    def __call__(
        self, image: np.ndarray, confidence_threshold: Optional[float] = None
    ) -> Dict[str, Any]:
        """What the model returns for one image, in the frame of ``image``.

        Args:
            image: (H, W, 3) uint8 in ``image_format``, as Detectron2's ``read_image`` gives it.
            confidence_threshold: for this image; None: the model's own.
        """
        height, width = image.shape[:2]
        aug_input = T.AugInput(image)
        self._augmentations(aug_input)
        pixels = np.require(aug_input.image.transpose(2, 0, 1), requirements=["C", "W"])
        inputs = {"image": torch.from_numpy(pixels), "height": height, "width": width}
        if isinstance(self.model, PanopticNetwork):
            thresholds = self._thresholds(confidence_threshold)
            return self.model.inference([inputs], thresholds=thresholds)[0]
        return self.model([inputs])[0]

    def panoptic(
        self, image: np.ndarray, confidence_threshold: Optional[float] = None
    ) -> Tuple[np.ndarray, List[Dict[str, Any]]]:
        """The panoptic map of ``image``, (H, W) int32, and its segments, as in the model's "panoptic_seg".

        Arguments as of a call. Of a model without a semantic head it holds things alone, see
        :func:`paste_things`.
        """
        output = self(image, confidence_threshold)
        found = output.get("panoptic_seg")
        if found is None:
            limits = self._thresholds(confidence_threshold)
            found = paste_things(output["instances"], limits.score, limits.overlap)
        return found[0].cpu().numpy(), found[1]

    def _thresholds(self, score: Optional[float]) -> FusionThresholds:
        score = self.confidence_threshold if score is None else score
        return FusionThresholds(score, *self._others)


def for_panoptic_maps(cfg: CfgNode) -> None:
    """Let the model make only what the panoptic map needs: of things alone without a semantic head."""
    if cfg.MODEL.SEM_SEG_HEAD.NAME:
        cfg.MODEL.OUTPUTS = ["panoptic_seg"]
    else:
        logger.info("the model has no semantic head (MODEL.SEM_SEG_HEAD.NAME is ''): things only")
        cfg.MODEL.OUTPUTS = ["instances"]


def with_trained_weights(cfg: CfgNode) -> None:
    """Make ``MODEL.WEIGHTS`` those that a training with this config leaves, unless it names others.

    Raises ConfigError when there are none.
    """
    weights = cfg.MODEL.WEIGHTS
    if weights and not weights.startswith(IMAGENET_PREFIX):
        return
    trained = os.path.join(cfg.OUTPUT_DIR, FINAL_WEIGHTS)
    if not os.path.isfile(trained):
        raise ConfigError(
            f"MODEL.WEIGHTS is '{weights}', and {trained} does not exist: train first, or name a "
            "checkpoint: MODEL.WEIGHTS output/model_final.pth"
        )
    cfg.MODEL.WEIGHTS = trained


def _trained_model(cfg: CfgNode, allow_unsafe: bool) -> nn.Module:
    check_device(cfg)
    model = build_model(cfg)
    checkpointer = EffPSCheckpointer(
        model, allow_unsafe=allow_unsafe, use_ema=cfg.TEST.USE_EMA, complete=True
    )
    checkpointer.load(cfg.MODEL.WEIGHTS)
    return build_inference_model(cfg, model)


def paste_things(
    instances: Instances, score_thresh: float, overlap_thresh: float
) -> Tuple[torch.Tensor, List[Dict[str, Any]]]:
    """Paste instances in the order of their scores, each where nothing is yet; the rest is void.

    Args:
        instances: a model's, in the frame of the output.
        score_thresh: instances below it are left out.
        overlap_thresh: an instance of which a larger fraction is taken already is left out.

    Returns:
        panoptic_seg (H, W) int32, 0 is void, and one dict per instance that holds a pixel: id,
        category_id (contiguous), isthing, score, area.
    """
    nowhere = torch.zeros(instances.image_size, dtype=torch.int64, device=instances.scores.device)
    panoptic_seg, segments = combine_semantic_and_instance_outputs(
        instances, nowhere, overlap_thresh, 0, score_thresh
    )
    areas = torch.bincount(panoptic_seg.flatten(), minlength=len(segments) + 1).tolist()
    segments_info = [
        {**{key: s[key] for key in _SEGMENT_KEYS}, "area": areas[s["id"]]}
        for s in segments
        if areas[s["id"]] > 0
    ]
    return panoptic_seg, segments_info
