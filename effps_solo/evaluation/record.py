"""The record of an evaluation: all segments of all images, matched, in one JSON file.

Every table of the report is made from it, of one run or of two, without the model or the data set.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, Tuple, Union

from effps_solo.structures.classes import PanopticClass
from effps_solo.utils.atomic import write_atomically
from effps_solo.utils.errors import UserError

from .matching import ImageSegments, Pair, PredictedSegment, TrueSegment

RECORD_NAME = "evaluation.json"
PREDICTIONS_FOLDER = "predictions"  # beside it, panoptic PNGs
_FORMAT = 2  # rises when a reader of older files would misunderstand


@dataclass(frozen=True)
class EvaluatedImage:
    """An image with its segments.

    Attributes:
        image_id: the data set's.
        name: of the image in the panoptic JSON, for people.
        image_file: path of the image.
        truth_file: path of the panoptic PNG of the ground truth.
        prediction_file: panoptic PNG of the prediction, in ``PREDICTIONS_FOLDER`` beside the record.
        segments: see :func:`effps_solo.evaluation.matching.match_segments`.
    """

    image_id: Union[int, str]
    name: str
    image_file: str
    truth_file: str
    prediction_file: str
    segments: ImageSegments


@dataclass(frozen=True)
class EvaluationRecord:
    """An evaluation."""

    data_set: str  # its registered name
    classes: Tuple[PanopticClass, ...]  # by contiguous id
    images: Tuple[EvaluatedImage, ...]  # in the order of the panoptic JSON

    def write(self, folder: Union[str, Path]) -> Path:
        """Write ``RECORD_NAME`` into ``folder``; returns its path."""
        path = Path(folder) / RECORD_NAME
        content = {"format": _FORMAT, **asdict(self)}
        write_atomically(path, json.dumps(content, separators=(",", ":")).encode())
        return path


def read_record(path: Union[str, Path]) -> EvaluationRecord:
    """Raises UserError, which names ``path``, where it is not there, or no record of this version."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["format"] == _FORMAT:
            return EvaluationRecord(
                data_set=content["data_set"],
                classes=tuple(map(PanopticClass.from_dict, content["classes"])),
                images=tuple(map(_image, content["images"])),
            )
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); evaluate first") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no record of an evaluation ({error!r})") from error
    raise UserError(f"{path} was written by another version; evaluate again")


def _image(values: Dict[str, Any]) -> EvaluatedImage:
    segments = values["segments"]
    matched = ImageSegments(
        truth=tuple(TrueSegment(**s) for s in segments["truth"]),
        predictions=tuple(PredictedSegment(**s) for s in segments["predictions"]),
        pairs=tuple(Pair(**p) for p in segments["pairs"]),
    )
    return EvaluatedImage(**{**values, "segments": matched})
