"""Prediction on single images with a model in torch."""

import logging
from dataclasses import replace
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from detectron2.modeling.meta_arch.panoptic_fpn import combine_semantic_and_instance_outputs
from detectron2.structures import Instances
from torch import nn

from effps_solo.checkpoint.checkpointer import EffPSCheckpointer
from effps_solo.config.setup import check_device, classes_of_data
from effps_solo.data.augmentation import build_augmentations
from effps_solo.modeling.outputs import FusionThresholds, PanopticNetwork
from effps_solo.utils.errors import ConfigError

from .preparation import build_inference_model

logger = logging.getLogger(__name__)

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
            cfg: of a trained model; ``MODEL.WEIGHTS`` is its checkpoint.
            allow_unsafe: load a checkpoint that can run code.
            model: taken as it is; None: built and loaded as ``cfg`` says.

        Raises:
            CheckpointError: ``MODEL.WEIGHTS`` are of no trained model, which has nothing to show.
        """
        self.model = (trained_model(cfg, allow_unsafe) if model is None else model).eval()
        self.image_format = cfg.INPUT.FORMAT
        self.classes = classes_of_data(cfg)
        self._augmentations = T.AugmentationList(build_augmentations(cfg, is_train=False))
        node = cfg.MODEL.PANOPTIC_FUSION
        self.confidence_threshold: float = node.SCORE_THRESH
        self._thresholds = FusionThresholds(
            node.SCORE_THRESH, node.OVERLAP_THRESH, node.STUFF_AREA_FRACTION
        )

    @torch.inference_mode()
    def __call__(
        self, image: np.ndarray, confidence_threshold: Optional[float] = None
    ) -> Dict[str, Any]:
        """
        Args:
            image: (H, W, 3) uint8 in ``image_format``, as Detectron2's ``read_image`` gives it.
            confidence_threshold: for this image; None: the model's own.

        Returns:
            what the model returns for one image, in the frame of ``image``.

        Raises:
            ConfigError: a network of Detectron2's own is given a threshold, which none takes in a call.
        """
        height, width = image.shape[:2]
        aug_input = T.AugInput(image)
        self._augmentations(aug_input)
        pixels = np.require(aug_input.image.transpose(2, 0, 1), requirements=["C", "W"])
        inputs = {"image": torch.from_numpy(pixels), "height": height, "width": width}
        if confidence_threshold is None:
            return self.model([inputs])[0]
        if not isinstance(self.model, PanopticNetwork):
            raise ConfigError(
                f"MODEL.META_ARCHITECTURE {type(self.model).__name__} takes its confidence threshold "
                "from its config alone"
            )
        thresholds = self._with_score(confidence_threshold)
        return self.model.inference([inputs], thresholds=thresholds)[0]

    def panoptic(
        self, image: np.ndarray, confidence_threshold: Optional[float] = None
    ) -> Tuple[np.ndarray, List[Dict[str, Any]]]:
        """The panoptic map of ``image``, (H, W) int32, and its segments, as in the model's "panoptic_seg".

        Of a model without a semantic head it holds things alone, see :func:`paste_things`.

        Args:
            confidence_threshold: for this image; None: the model's own.
        """
        output = self(image, confidence_threshold)
        if "panoptic_seg" in output:
            panoptic_seg, segments_info = output["panoptic_seg"]
        else:
            thresholds = self._with_score(confidence_threshold)
            panoptic_seg, segments_info = paste_things(
                output["instances"], thresholds.score, thresholds.overlap
            )
        return panoptic_seg.cpu().numpy(), segments_info

    def _with_score(self, value: Optional[float]) -> FusionThresholds:
        return self._thresholds if value is None else replace(self._thresholds, score=value)


def for_panoptic_maps(cfg: CfgNode) -> None:
    """Let the model make only what the panoptic map needs: of things alone without a semantic head."""
    if cfg.MODEL.SEM_SEG_HEAD.NAME:
        cfg.MODEL.OUTPUTS = ["panoptic_seg"]
    else:
        logger.info("the model has no semantic head (MODEL.SEM_SEG_HEAD.NAME is ''): things only")
        cfg.MODEL.OUTPUTS = ["instances"]


def trained_model(cfg: CfgNode, allow_unsafe: bool = False) -> nn.Module:
    """The network of a config with the weights ``MODEL.WEIGHTS``, as ``TEST`` wants it to run.

    Raises as :class:`Predictor`.
    """
    check_device(cfg)
    model = build_model(cfg)
    checkpointer = EffPSCheckpointer(
        model,
        allow_unsafe=allow_unsafe,
        use_ema=cfg.TEST.USE_EMA,
        complete=True,
        classes=classes_of_data(cfg),
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
