"""What the instance head will never see: objects of sizes that no level learns."""

import logging
from typing import Sequence, Tuple

import numpy as np
import torch

from effps_solo.data.loader import Sample, SampledRecords

logger = logging.getLogger(__name__)

NUM_IMAGES = 16  # more tell little more, and each is read and augmented


def share_outside(boxes: torch.Tensor, scale_ranges: Sequence[Tuple[float, float]]) -> float:
    """The fraction of (M, 4) XYXY boxes whose sqrt(w * h) no range holds; 0 for M = 0."""
    low, high = torch.tensor(scale_ranges, dtype=torch.float64).T
    scale = (boxes[:, 2:] - boxes[:, :2]).double().prod(dim=1, keepdim=True).sqrt()
    inside = ((low <= scale) & (scale <= high)).any(dim=1)
    return 1 - float(inside.double().mean()) if len(boxes) else 0.0


def tell_of_unlearned_sizes(
    dataset: SampledRecords, scale_ranges: Sequence[Tuple[float, float]], seed: int
) -> None:
    """Warn of the share of objects outside ``scale_ranges`` in a few augmented training images."""
    count = len(dataset.records)
    chosen = np.linspace(0, count - 1, min(count, NUM_IMAGES)).astype(int).tolist()
    # One after the other: each is an image with labels and masks, tens of megabytes at 1024x2048.
    samples = (dataset[Sample(index, seed, position)] for position, index in enumerate(chosen))
    found = [x["instances"].gt_boxes.tensor for x in samples if "instances" in x]
    share = share_outside(torch.cat([torch.zeros(0, 4), *found]), scale_ranges)
    if share > 0:
        logger.warning(
            "%.1f %% of the objects in %d training images have sizes outside MODEL.SOLOV2.SCALE_RANGES "
            "%s: the instance head does not learn them",
            100 * share,
            len(chosen),
            [list(limits) for limits in scale_ranges],
        )
