"""Prediction on single images."""

from typing import Any, Dict

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.modeling import build_model

from .checkpoint.checkpointer import EffPSCheckpointer
from .data.augmentation import build_augmentations
from .engine.setup import check_device
from .errors import ConfigError


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
        self.model = build_model(cfg).eval()
        checkpointer = EffPSCheckpointer(self.model, allow_unsafe=allow_unsafe)
        checkpointer.load(cfg.MODEL.WEIGHTS)
        self.image_format = cfg.INPUT.FORMAT
        self._augmentations = T.AugmentationList(build_augmentations(cfg, is_train=False))

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
