"""The data of the evaluation, judged before the training that comes before it."""

import logging
import time
from typing import List

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from effps_solo.data.datasets.files import DatasetError

from .findings import ERROR, KINDS, Finding
from .images import check_image
from .plan import DatasetPlan, plan_dataset
from .sources import sources_from_config

MAX_IMAGES, MAX_SECONDS = 32, 5.0  # of each data set; what is wrong with all of them shows in a few
# Errors that end an evaluation; the others make its figures wrong.
_ENDING = {
    "empty-split", "unreadable-image", "unreadable-png", "wrong-png-mode", "size-mismatch", "stored-pixels",
}  # fmt: skip
logger = logging.getLogger(__name__)


def check_test_sets(cfg: CfgNode) -> None:
    """Read lists and folders of ``DATASETS.TEST``, and a few of the files, in seconds.

    What only makes figures wrong is logged as a warning, in the words of ``check-dataset``.

    Raises:
        DatasetError: an evaluation would end with it: an empty set, files that the JSON does not list
            or that are not there, or that cannot be read.
        UserError: a data set without panoptic JSON.
    """
    if not cfg.DATASETS.TEST:
        return
    tests = cfg.clone()
    tests.defrost()
    tests.DATASETS.TRAIN = ()
    for source in sources_from_config(tests):
        plan = plan_dataset(source)
        findings = [*plan.findings, *_findings_of_files(plan)]
        errors = [finding for finding in findings if finding.level == ERROR]
        ending = [finding for finding in errors if finding.kind in _ENDING]
        if ending:
            raise DatasetError(f"DATASETS.TEST: {_text(source.name, ending)}")
        DatasetCatalog.get(source.name)  # raises for what lists and folders have wrong
        if errors:
            logger.warning("DATASETS.TEST: %s", _text(source.name, errors))


def _findings_of_files(plan: DatasetPlan) -> List[Finding]:
    """Of images and PNGs from all over the set, as many as the time allows."""
    start, findings = time.monotonic(), []
    step = max(1, -(-len(plan.jobs) // MAX_IMAGES))
    for job in plan.jobs[::step]:
        findings += check_image(job, plan.classes).findings
        if time.monotonic() - start > MAX_SECONDS:
            break
    return findings


def _text(name: str, findings: List[Finding]) -> str:
    """The first finding in words, and how many there are more."""
    first = findings[0]
    more = f" ({len(findings) - 1} more errors)" if len(findings) > 1 else ""
    return (
        f"{name}: {first.subject} {first.text}; {KINDS[first.kind].remedy}{more}. `effps-solo check-dataset` "
        "lists all"
    )
