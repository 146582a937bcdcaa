"""COCO instance masks of an image: empty ones, and two of one object."""

from typing import Any, List, NamedTuple, Optional, Tuple

import numpy as np

from effps_solo.data.segmentation import with_area

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

    findings: List[Finding] = []
    ids, runs = [], []
    for mask in masks:
        try:
            encoded = _encode(mask_utils, mask.segmentation, size)
        except Exception as error:  # pycocotools raises whatever comes, bare exceptions too
            text = f"instance {mask.id} has no usable segmentation ({error})"
            findings.append(Finding("malformed-entry", subject, text))
            continue
        if encoded is None or mask_utils.area(encoded) == 0:
            text = f"instance {mask.id} has no pixel"
            findings.append(Finding("empty-segment", subject, text))
            continue
        ids.append(mask.id)
        runs.append(encoded)
    iou = np.asarray(mask_utils.iou(runs, runs, [0] * len(runs))).reshape(len(runs), len(runs))
    for i, k in zip(*np.nonzero(np.triu(iou > MAX_IOU, 1))):
        text = f"instances {ids[i]} and {ids[k]} overlap with an IoU of {iou[i, k]:.2f}"
        findings.append(Finding("overlapping-segments", subject, text))
    return findings


def _encode(mask_utils: Any, segmentation: Any, size: Tuple[int, int]) -> Any:
    """Run lengths as pycocotools has them; None for no polygon with an area."""
    segmentation = with_area(segmentation)
    if segmentation == []:
        return None
    height, width = size
    if isinstance(segmentation, list):
        return mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"its size is {segmentation['size']}, the image's [{height}, {width}]")
    if isinstance(segmentation["counts"], list):
        return mask_utils.frPyObjects(segmentation, height, width)
    return segmentation
