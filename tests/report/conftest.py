"""A street of two images: a car found, a person taken for a car, a person missed, a false car."""

from pathlib import Path
from typing import Callable, Dict

import numpy as np
import pytest
from PIL import Image

from effps_solo.evaluation.boundary import add_boundary_ious
from effps_solo.evaluation.matching import match_segments
from effps_solo.evaluation.record import PREDICTIONS_FOLDER, EvaluatedImage, EvaluationRecord
from effps_solo.structures.classes import PanopticClass
from effps_solo.structures.panoptic_png import encode_segment_ids

PERSON, CAR, ROAD, SKY = 24, 26, 7, 23
CLASSES = (
    PanopticClass("person", True, PERSON, (220, 20, 60)),
    PanopticClass("car", True, CAR, (0, 0, 142)),
    PanopticClass("road", False, ROAD, (128, 64, 128)),
    PanopticClass("sky", False, SKY, (70, 130, 180)),
)
# Truth: road 1; car 2; persons 3 and 4; a void row below. Prediction of it: ids + 10.
TRUE = np.full((50, 80), 1)
TRUE[5:45, 4:44], TRUE[4:14, 50:60], TRUE[20:30, 50:60], TRUE[48:] = 2, 3, 4, 0
PREDICTED = np.where(TRUE > 0, TRUE + 10, 0)
PREDICTED[TRUE == 4], PREDICTED[35:45, 60:70] = 11, 15
TRUE_CLASSES = {1: ROAD, 2: CAR, 3: PERSON, 4: PERSON}
PREDICTED_SEGMENTS = {11: (ROAD, 0.95), 12: (CAR, 0.85), 13: (CAR, 0.35), 15: (CAR, 0.31)}


def evaluated(
    root: Path, run: Path, image_id: int, predicted: np.ndarray, segments: Dict[int, tuple]
) -> EvaluatedImage:
    """Write the files of an image, match them."""
    (run / PREDICTIONS_FOLDER).mkdir(parents=True, exist_ok=True)
    picture, truth_file = root / f"{image_id}.jpg", root / f"{image_id}.png"
    Image.fromarray(np.stack([TRUE * 40] * 3, -1).astype(np.uint8)).save(picture)
    truth_file.write_bytes(encode_segment_ids(TRUE))
    name = f"{image_id}.png"
    (run / PREDICTIONS_FOLDER / name).write_bytes(encode_segment_ids(predicted))
    true_info = [
        {"id": k, "category_id": c, "area": int((TRUE == k).sum()), "iscrowd": 0}
        for k, c in TRUE_CLASSES.items()
    ]
    info = [{"id": k, "category_id": c, "score": s} for k, (c, s) in segments.items()]
    matched = add_boundary_ious(
        match_segments(TRUE, true_info, predicted, info), TRUE, predicted, ratio=0.02
    )
    return EvaluatedImage(
        image_id, f"<{image_id}>.jpg", str(picture), str(truth_file), name, matched
    )


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Write an evaluated run of two images; ``perfect`` ones are predicted without a fault."""

    def write(name: str, perfect: int = 1) -> Path:
        folder = tmp_path / name / "inference" / "street_val"
        flawless = {k + 10: (c, 0.9) for k, c in TRUE_CLASSES.items()}
        images = []
        for image_id in (1, 2):
            if image_id > 2 - perfect:
                predicted, segments = np.where(TRUE > 0, TRUE + 10, 0), flawless
            else:
                predicted, segments = PREDICTED, PREDICTED_SEGMENTS
            images.append(evaluated(tmp_path, folder, image_id, predicted, segments))
        EvaluationRecord("street_val", CLASSES, tuple(images)).write(folder)
        return tmp_path / name

    return write
