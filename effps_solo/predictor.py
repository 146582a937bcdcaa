"""Prediction on single images."""

from typing import Any, Dict, List, Tuple

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from detectron2.modeling.meta_arch.panoptic_fpn import combine_semantic_and_instance_outputs
from detectron2.structures import Instances

from .checkpoint.checkpointer import EffPSCheckpointer
from .data.augmentation import build_augmentations
from .engine.setup import check_device
from .errors import ConfigError
from .test_time_augmentation import build_inference_model

_SEGMENT_KEYS = ("id", "category_id", "isthing", "score")


class Predictor:
    """A trained model behind one call: image in, Detectron2's output dict out."""

    def __init__(self, cfg: CfgNode, allow_unsafe: bool = False) -> None:
        """
        Args:
            cfg: of a trained model; ``MODEL.WEIGHTS`` is its checkpoint.
            allow_unsafe: load a checkpoint that can run code.

        Raises:
            ConfigError: ``MODEL.WEIGHTS`` is empty: an untrained model has nothing to show.
        """
        if not cfg.MODEL.WEIGHTS:
            raise ConfigError(
                "MODEL.WEIGHTS is empty: name a checkpoint, e.g. output/model_final.pth"
            )
        check_device(cfg)
        model = build_model(cfg)
        checkpointer = EffPSCheckpointer(model, allow_unsafe=allow_unsafe, use_ema=cfg.TEST.USE_EMA)
        checkpointer.load(cfg.MODEL.WEIGHTS)
        self.model = build_inference_model(cfg, model).eval()
        self.image_format = cfg.INPUT.FORMAT
        self._augmentations = T.AugmentationList(build_augmentations(cfg, is_train=False))
        self._score_thresh = cfg.MODEL.PANOPTIC_FUSION.SCORE_THRESH
        self._overlap_thresh = cfg.MODEL.PANOPTIC_FUSION.OVERLAP_THRESH

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> Dict[str, Any]:
        """
        Args:
            image: (H, W, 3) uint8 in ``image_format``, as Detectron2's ``read_image`` gives it.

        Returns:
            what the model returns for one image, in the frame of ``image``.
        """
        height, width = image.shape[:2]
        aug_input = T.AugInput(image)
        self._augmentations(aug_input)
        pixels = np.ascontiguousarray(aug_input.image.transpose(2, 0, 1))
        inputs = {"image": torch.from_numpy(pixels), "height": height, "width": width}
        return self.model([inputs])[0]

    def panoptic(self, image: np.ndarray) -> Tuple[torch.Tensor, List[Dict[str, Any]]]:
        """The panoptic map of ``image`` and its segments, as in the model's "panoptic_seg".

        Of a model without a semantic head it holds things alone, see :func:`paste_things`.
        """
        output = self(image)
        if "panoptic_seg" in output:
            panoptic_seg, segments_info = output["panoptic_seg"]
            return panoptic_seg, segments_info
        return paste_things(output["instances"], self._score_thresh, self._overlap_thresh)


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
