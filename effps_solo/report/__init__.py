"""Reports of evaluations: one HTML file with quality by class and size, confusion and calibration."""

import logging
from pathlib import Path
from typing import Any, List, Mapping

from detectron2.config import CfgNode

from effps_solo.evaluation.record import RECORD_NAME
from effps_solo.evaluation.thresholds import Tuning
from effps_solo.utils.errors import UserError

from .page import write_comparison, write_report
from .run import open_run, write_results, write_tuning

__all__ = [
    "NUM_IMAGES",
    "add_tuning",
    "open_run",
    "write_comparison",
    "write_report",
    "write_reports",
]

REPORT_NAME = "report.html"
_TASKS = ("panoptic_seg", "sem_seg", "segm")
NUM_IMAGES = 6  # of the worst and as many of the best

logger = logging.getLogger(__name__)


def write_reports(cfg: CfgNode, results: Mapping[str, Any]) -> List[Path]:
    """After an evaluation: ``REPORT_NAME`` and results.json in the folder of each data set.

    An error while a report is written is logged, not raised: the results must not be lost.

    Args:
        cfg: with OUTPUT_DIR and DATASETS.TEST of the evaluation.
        results: of the trainer's ``test``: task -> metric -> percent, by data set if there are several.

    Returns:
        the reports.
    """
    written = []
    for name in cfg.DATASETS.TEST:
        of_data_set = results if len(cfg.DATASETS.TEST) == 1 else results.get(name, {})
        path = Path(cfg.OUTPUT_DIR) / "inference" / name / REPORT_NAME
        try:
            write_results({k: v for k, v in of_data_set.items() if k in _TASKS}, path.parent)
            if "panoptic_seg" not in of_data_set:
                logger.info("No report on %s: no panoptic segmentation was evaluated", name)
                continue
            write_report(open_run(Path(cfg.OUTPUT_DIR), name), path, NUM_IMAGES)
        except (OSError, UserError) as error:
            logger.warning("No report on %s: %s", name, error)
            continue
        written.append(path)
        logger.info("Report with tables and pictures: %s", path)
    return written


def add_tuning(cfg: CfgNode, tuning: Tuning) -> List[Path]:
    """Keep it in ``OUTPUT_DIR`` for reports to come; returns those there are, written again with it.

    An error is logged, not raised.
    """
    written = []
    try:
        write_tuning(tuning, Path(cfg.OUTPUT_DIR))
        for name in cfg.DATASETS.TEST:
            folder = Path(cfg.OUTPUT_DIR) / "inference" / name
            if (folder / RECORD_NAME).is_file():
                write_report(open_run(folder), folder / REPORT_NAME, NUM_IMAGES)
                written.append(folder / REPORT_NAME)
    except (OSError, UserError) as error:
        logger.warning("The reports do not show the thresholds: %s", error)
    return written
