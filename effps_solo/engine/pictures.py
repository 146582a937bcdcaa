"""Pictures of predictions during training, for TensorBoard and W&B."""

from typing import Any, Dict, List

import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import HookBase
from detectron2.evaluation import inference_context
from torch import nn

from effps_solo.data.mapper import PanopticDatasetMapper
from effps_solo.structures.classes import classes_from_metadata
from effps_solo.visualization.overlay import panoptic_overlay

from .distributed import unwrap

MAX_SIZE = 768  # of a picture, in pixels


class PredictionPictures(HookBase):
    """Every ``period`` iterations the panoptic predictions of a few images, the same ones each time.

    At most ``num_images``, spread evenly over a registered data set, whose ``mapper`` is that for
    inference. Runs on the main process alone; a picture costs one inference.
    """

    def __init__(
        self, dataset_name: str, mapper: PanopticDatasetMapper, *, period: int, num_images: int
    ) -> None:
        self.classes = classes_from_metadata(MetadataCatalog.get(dataset_name))
        self.period = period
        records = DatasetCatalog.get(dataset_name)
        count = min(num_images, len(records))
        chosen = np.linspace(0, len(records) - 1, count).round().astype(int)
        self.inputs: List[Dict[str, Any]] = [mapper(records[i]) for i in chosen]
        self.image_format = mapper.image_format

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self.period and done != self.trainer.max_iter:
            return
        model = unwrap(self.trainer.model)
        with torch.no_grad(), inference_context(model):
            for number, x in enumerate(self.inputs):
                picture = self._picture(x, model.inference([x], outputs=["panoptic_seg"])[0])
                self.trainer.storage.put_image(
                    f"predictions/{number}", np.ascontiguousarray(picture.transpose(2, 0, 1))
                )

    def _picture(self, x: Dict[str, Any], output: Dict[str, Any]) -> np.ndarray:
        """(h, w, 3) uint8 RGB in the frame of the output."""
        panoptic_seg, segments_info = output["panoptic_seg"]
        height, width = panoptic_seg.shape
        image = nn.functional.interpolate(
            x["image"][None].float(), size=(height, width), mode="bilinear", antialias=True
        )
        pixels = image[0].round().byte().permute(1, 2, 0).numpy()
        if self.image_format == "BGR":
            pixels = pixels[..., ::-1]
        return panoptic_overlay(
            pixels, panoptic_seg.cpu().numpy(), segments_info, self.classes, max_size=MAX_SIZE
        )
