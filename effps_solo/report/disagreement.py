"""Where label and model disagree: images whose labels are worth a look come first.

Wrong labels planted in street scenes are found sooner by the share of pixels whose class differs than by
panoptic quality, in which a small segment that the model misses weighs as much as a large wrong one.
"""

import csv
import io
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Iterable, List, Mapping, Sequence

import numpy as np

from effps_solo.evaluation.matching import match_segments
from effps_solo.evaluation.verdicts import Verdicts
from effps_solo.inference.result import PanopticResult
from effps_solo.structures.panoptic_png import VOID
from effps_solo.structures.segment_measures import measured_segments

NO_CLASS = "void"


@dataclass(frozen=True)
class Disagreement:
    """Label and model of one image.

    Attributes:
        file_name: of the image.
        differing: percent of the pixels with a label whose class is another one in the prediction, or none;
            nan where no pixel has a label.
        labelled, predicted: the classes of most of those pixels; "" without any.
        missed: labelled segments that no prediction of their class matches; crowds are never missed.
        false: predicted segments that match no label of their class.
    """

    file_name: str
    differing: float
    labelled: str
    predicted: str
    missed: int
    false: int


def differing_pixels(
    true_ids: np.ndarray, true_info: Sequence[Mapping[str, Any]], result: PanopticResult
) -> np.ndarray:
    """(H, W) bool: pixels with a label whose class is another one in the prediction, or none."""
    label, prediction = _class_maps(true_ids, true_info, result)
    return (label >= 0) & (label != prediction)


def compare(
    file_name: str,
    true_ids: np.ndarray,
    true_info: Sequence[Mapping[str, Any]],
    result: PanopticResult,
) -> Disagreement:
    """
    Args:
        file_name: of the image.
        true_ids: (H, W) segment ids of the label; 0, and ids that ``true_info`` lacks, are void.
        true_info: id, contiguous category_id and iscrowd of each segment.
        result: of the model, (H, W).
    """
    label, prediction = _class_maps(true_ids, true_info, result)
    labelled = label >= 0
    differ = labelled & (label != prediction)
    names = [*(entry.name for entry in result.classes), NO_CLASS]  # -1 is the last one
    pairs, counts = np.unique(
        np.stack([label[differ], prediction[differ]]), axis=1, return_counts=True
    )
    most = pairs[:, counts.argmax()].tolist() if len(counts) else None
    known = measured_segments(true_ids, {segment["id"]: segment for segment in true_info})
    verdicts = Verdicts(
        match_segments(
            np.where(labelled, true_ids, VOID),
            known,
            result.panoptic,
            list(map(vars, result.segments)),
        )
    )
    return Disagreement(
        file_name=file_name,
        differing=100 * differ.sum() / labelled.sum() if labelled.any() else math.nan,
        labelled=names[most[0]] if most else "",
        predicted=names[most[1]] if most else "",
        missed=len(verdicts.missed),
        false=len(verdicts.false),
    )


def _class_maps(
    true_ids: np.ndarray, true_info: Sequence[Mapping[str, Any]], result: PanopticResult
) -> List[np.ndarray]:
    """(H, W) contiguous ids of the label and of the prediction; -1 is void."""
    predicted_info = list(map(vars, result.segments))
    maps = []
    for ids, info in ((true_ids, true_info), (result.panoptic, predicted_info)):
        class_of = np.full(int(ids.max(initial=0)) + 1, -1, dtype=np.int64)
        for segment in info:
            if segment["id"] < len(class_of):
                class_of[segment["id"]] = segment["category_id"]
        maps.append(class_of[ids])
    return maps


def worst_first(found: Iterable[Disagreement]) -> List[Disagreement]:
    """By the share of differing pixels; images without labels come last."""

    def order(one: Disagreement) -> Any:
        unknown = math.isnan(one.differing)
        return unknown, 0 if unknown else -one.differing, one.file_name

    return sorted(found, key=order)


def as_csv(ranked: Sequence[Disagreement]) -> str:
    """A line for each image, in their order."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Disagreement)])
    writer.writeheader()
    for one in ranked:
        share = "" if math.isnan(one.differing) else f"{one.differing:.4f}"
        writer.writerow({**asdict(one), "differing": share})
    return text.getvalue()
