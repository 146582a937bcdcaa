"""COCO instance masks of an image: empty ones, and two of one object."""

from typing import Any, List, NamedTuple, Optional, Tuple

import numpy as np

from effps_solo.data.importers.geometry import FaultyShapeError, NoAreaError

from .findings import Finding

# Above it PQ could match both masks with one prediction.
MAX_IOU = 0.5


class InstanceMask(NamedTuple):
    """An annotation of a COCO instances JSON that is no crowd."""

    id: Any
    segmentation: Any  # polygons or run lengths


def mask_findings(
    subject: str, masks: List[InstanceMask], size: Optional[Tuple[int, int]]
) -> List[Finding]:
    """Empty masks, and pairs whose intersection over union exceeds one half.

    Args:
        size: height, width of the image; without it nothing can be said.
    """
    if size is None:
        return []
    from pycocotools import mask as mask_utils  # only for data sets that have such masks

    from effps_solo.data.importers.rasterize import CORNERS, rasterize

    findings: List[Finding] = []
    ids, runs = [], []
    for mask in masks:
        try:
            found = rasterize("segmentation", mask.segmentation, size, CORNERS).full(size)
        except FaultyShapeError as error:
            text = f"instance {mask.id} has no usable segmentation ({error})"
            findings.append(Finding("malformed-entry", subject, text))
        except NoAreaError as reason:
            findings.append(Finding("empty-segment", subject, f"instance {mask.id} is {reason}"))
        else:
            ids.append(mask.id)
            runs.append(mask_utils.encode(np.asfortranarray(found)))
    iou = np.asarray(mask_utils.iou(runs, runs, [0] * len(runs))).reshape(len(runs), len(runs))
    for i, k in zip(*np.nonzero(np.triu(iou > MAX_IOU, 1))):
        text = f"instances {ids[i]} and {ids[k]} overlap with an IoU of {iou[i, k]:.2f}"
        findings.append(Finding("overlapping-segments", subject, text))
    return findings
