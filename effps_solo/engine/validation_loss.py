"""The losses on images that the training does not see, beside the training's own."""

import logging
from collections import Counter
from typing import Callable, Dict, List

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.evaluation import inference_context
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torch import nn

from effps_solo.data.augmentation import build_augmentations
from effps_solo.data.build import Record, evenly_spread
from effps_solo.data.loader import RECORD_ERRORS
from effps_solo.data.mapper import PanopticDatasetMapper
from effps_solo.data.seeding import seeded
from effps_solo.modeling.instance_head import StepTotals
from effps_solo.modeling.precision import Precision

logger = logging.getLogger(__name__)


class ValidationLoss:
    """The mean losses of a model on a few images of ``DATASETS.TEST``, the same ones each time.

    Whole images, one by one, in evaluation mode and without gradients: weights, running statistics,
    random numbers and the order of the training data stay as they are.
    """

    def __init__(self, cfg: CfgNode, precision: Precision) -> None:
        """``TEST.VALIDATION_LOSS_IMAGES`` of each set, shared out to the processes."""
        limit = cfg.TEST.VALIDATION_LOSS_IMAGES
        self.records: List[Record] = []
        for name in cfg.DATASETS.TEST if limit > 0 else ():
            self.records += evenly_spread(DatasetCatalog.get(name), limit)
        self.records = self.records[comm.get_rank() :: comm.get_world_size()]
        arguments = PanopticDatasetMapper.from_config(cfg, is_train=True)
        arguments["augmentations"] = build_augmentations(cfg, is_train=False)
        self.mapper = PanopticDatasetMapper(**arguments)
        self.precision = precision

    def __call__(self, model: nn.Module, before_image: Callable[[bool], None]) -> Dict[str, float]:
        """
        Args:
            model: has ``losses`` and ``count_targets`` of :class:`EfficientPS`; of others nothing is known.
            before_image: is called with False before every image, and with True behind the last one.

        Returns:
            on the main process name -> mean, "total_loss" among them; empty without an image.
        """
        sums: Counter = Counter()
        if hasattr(model, "losses"):
            with torch.no_grad(), inference_context(model), seeded(0), EventStorage():
                for record in self.records:
                    before_image(False)
                    sums.update(self._losses(model, record))
        before_image(True)
        total: Counter = Counter()
        for of_process in comm.gather(dict(sums)):
            total.update(of_process)
        count = total.pop("count", 0)
        means = {name: value / count for name, value in total.items()}
        if means:
            means["total_loss"] = sum(means.values())
            text = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
            logger.info("Validation losses on %d images: %s", count, text)
        return means

    def _losses(self, model: nn.Module, record: Record) -> Dict[str, float]:
        """Of one image, and "count" 1; empty where it cannot be read."""
        try:
            batch = [self.mapper(record)]
        except RECORD_ERRORS as error:
            logger.warning("Left out of the validation losses: %s", " ".join(str(error).split()))
            return {}
        # Of this image alone: the others' do not wait for it.
        totals = StepTotals(model.count_targets(batch), 1)
        with self.precision.autocast():
            losses = model.losses(batch, totals, whole_images=True)
        return {"count": 1, **{name: float(loss) for name, loss in losses.items()}}
