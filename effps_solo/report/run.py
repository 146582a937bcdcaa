"""An evaluated run, as it lies on the disk."""

import json
import math
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from effps_solo.evaluation.record import RECORD_NAME, EvaluationRecord, read_record
from effps_solo.evaluation.thresholds import Curve, Tuning
from effps_solo.modeling.outputs import FusionThresholds
from effps_solo.utils.atomic import write_atomically
from effps_solo.utils.errors import UserError

RESULTS_NAME = "results.json"  # beside the record
HISTORY_NAME = "metrics.json"  # in OUTPUT_DIR, by Detectron2
TUNING_NAME = "thresholds.json"  # in OUTPUT_DIR, by ``effps-solo tune``
_INFERENCE = "inference"


@dataclass(frozen=True)
class Run:
    """An evaluation and what is known of the training before it.

    Attributes:
        name: for people.
        folder: of the record.
        record: the segments of all images.
        results: task -> metric -> percent, of "panoptic_seg", "sem_seg" and "segm"; empty when unknown.
        history: the lines of metrics.json; empty without a training.
        tuning: of the thresholds; None where they were not tuned.
    """

    name: str
    folder: Path
    record: EvaluationRecord
    results: Mapping[str, Mapping[str, float]]
    history: List[Dict[str, Any]]
    tuning: Optional[Tuning] = None


def write_results(results: Mapping[str, Mapping[str, float]], folder: Path) -> None:
    """Write task -> metric -> percent as JSON; what is undefined is null."""
    known = {
        task: {key: None if math.isnan(value) else float(value) for key, value in metrics.items()}
        for task, metrics in results.items()
    }
    write_atomically(folder / RESULTS_NAME, (json.dumps(known, indent=1) + "\n").encode())


def write_tuning(tuning: Tuning, output_dir: Path) -> None:
    """Write it as JSON for the reports to come."""
    write_atomically(output_dir / TUNING_NAME, (json.dumps(asdict(tuning)) + "\n").encode())


def open_run(path: Path, data_set: str = "") -> Run:
    """
    Args:
        path: OUTPUT_DIR of a training or an evaluation, or the folder of one evaluated data set.
        data_set: which one, where several were evaluated.

    Raises:
        UserError: there is no evaluation, or more than one to choose from.
    """
    folder = _folder_of_record(path, data_set)
    return Run(
        name=str(path),
        folder=folder,
        record=read_record(folder / RECORD_NAME),
        results=_read_results(folder / RESULTS_NAME),
        history=_read_history(folder.parent.parent / HISTORY_NAME),
        tuning=_read_tuning(folder.parent.parent / TUNING_NAME),
    )


def _folder_of_record(path: Path, data_set: str) -> Path:
    if (path / RECORD_NAME).is_file():
        return path
    found = sorted(path.glob(f"{_INFERENCE}/{data_set or '*'}/{RECORD_NAME}"))
    if not found:
        raise UserError(
            f"no {RECORD_NAME} in '{path}' or '{path / _INFERENCE / (data_set or '*')}'; write it "
            "with `effps-solo train --eval-only`"
        )
    if len(found) > 1:
        names = ", ".join(each.parent.name for each in found)
        raise UserError(f"'{path}' holds several evaluations; choose one by --data-set: {names}")
    return found[0].parent


def _read_results(path: Path) -> Dict[str, Dict[str, float]]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            task: {key: math.nan if v is None else float(v) for key, v in metrics.items()}
            for task, metrics in content.items()
        }
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} cannot be read ({error}); evaluate again") from error


def _read_tuning(path: Path) -> Optional[Tuning]:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        thresholds = {key: FusionThresholds(**content[key]) for key in ("current", "chosen")}
        curves = [Curve(**curve) for curve in content["curves"]]
        halves = tuple(content["gains_of_halves"])
        return Tuning(**{**content, **thresholds, "curves": curves, "gains_of_halves": halves})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} cannot be read ({error}); run tune again") from error


def _read_history(path: Path) -> List[Dict[str, Any]]:
    """All whole lines; a killed training can leave half a line."""
    if not path.is_file():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            lines.append(json.loads(line))
    lines = [values for values in lines if isinstance(values, dict) and "iteration" in values]
    return sorted(lines, key=lambda values: float(values["iteration"]))
