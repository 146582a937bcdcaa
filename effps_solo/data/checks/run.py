"""Checks data sets: reads all files in parallel and collects what is found."""

from dataclasses import dataclass
from typing import List, NamedTuple, Optional, Pattern, Sequence

from effps_solo.data.conversion import map_in_processes

from .duplicates import Picture, Split, distinct_files, duplicate_findings
from .findings import LEVELS, Finding
from .groups import group_findings
from .images import ImageResult, check_job
from .plan import DatasetPlan, PanopticSource, add_set_findings, plan_dataset
from .statistics import Statistics, count_dataset


class ExpectedCount(NamedTuple):
    """A number of classes that a config states."""

    key: str
    number: int
    things_only: bool


@dataclass
class CheckedDataset:
    """A data set and all that was found.

    Attributes:
        findings: errors first.
        results: of ``plan.jobs``.
    """

    plan: DatasetPlan
    results: List[ImageResult]
    findings: List[Finding]
    statistics: Statistics

    @property
    def name(self) -> str:
        """Of the data set."""
        return self.plan.source.name


def check_datasets(
    sources: Sequence[PanopticSource],
    *,
    expected: Sequence[ExpectedCount] = (),
    known: Sequence[PanopticSource] = (),
    group_by: Optional[Pattern[str]] = None,
    num_workers: int = 1,
    show_progress: bool = False,
) -> List[CheckedDataset]:
    """Check the splits of a data set, each alone and all together.

    Args:
        sources: of one label space.
        expected: class counts to compare with those of the first split.
        known: other splits, which list files in the same folders and are not checked.
        group_by: what images of one group have in common; see :func:`~.groups.group_of`.
        num_workers: processes; 1 reads in this one.
        show_progress: draw a progress bar on stderr.

    Raises:
        ConversionError: a worker process died.
    """
    plans = [plan_dataset(source) for source in sources]
    add_set_findings(plans, [plan_dataset(source) for source in known])
    work = [(job, plan.classes) for plan in plans for job in plan.jobs]
    results = map_in_processes(
        check_job, work, num_workers=num_workers, title="check", show_progress=show_progress
    )
    checked = []
    for plan in plans:
        own = [next(results) for _ in plan.jobs]
        findings = [*plan.findings, *(finding for result in own for finding in result.findings)]
        statistics = count_dataset(plan.jobs, own, plan.classes)
        findings += class_findings(plan, statistics)
        checked.append(CheckedDataset(plan, own, findings, statistics))
    for dataset, more in zip(checked, duplicate_findings([_split(d) for d in checked])):
        dataset.findings += more
    names = [(plan.source.name, [job.image_name for job in plan.jobs]) for plan in plans]
    for dataset, more in zip(checked, group_findings(names, group_by)):
        dataset.findings += more
    _add_count_findings(checked, expected)
    for dataset in checked:
        dataset.findings.sort(key=lambda finding: LEVELS.index(finding.level))
    return checked


def _split(dataset: CheckedDataset) -> Split:
    pictures = [
        Picture(job.image_name, job.image_file, result.digest, result.thumbnail)
        for job, result in zip(dataset.plan.jobs, dataset.results)
        if job.image_file and result.digest is not None and result.thumbnail is not None
    ]
    return Split(dataset.name, distinct_files(pictures))


def class_findings(plan: DatasetPlan, statistics: Statistics) -> List[Finding]:
    """Classes without a segment, or with crowds alone; no object at all."""
    findings: List[Finding] = []
    if not plan.jobs:
        return findings
    for category_id, count in statistics.classes.items():
        category = plan.classes[category_id]
        if count.num_segments == 0:
            findings.append(Finding("class-never-occurs", category.name, "has no segment"))
        elif category.is_thing and count.num_crowds == count.num_segments:
            text = f"has {count.num_crowds} crowds and no object"
            findings.append(Finding("only-crowds", category.name, text))
    has_things = any(category.is_thing for category in plan.classes.values())
    if has_things and not sum(statistics.objects_per_image):
        text = f"shows no object in {statistics.num_images} images"
        findings.append(Finding("no-objects", plan.source.name, text))
    return findings


def _add_count_findings(
    checked: Sequence[CheckedDataset], expected: Sequence[ExpectedCount]
) -> None:
    """Compares the class counts of the first data set that has classes."""
    dataset = next((dataset for dataset in checked if dataset.plan.classes), None)
    if dataset is None:
        return
    categories = dataset.plan.classes.values()
    for key, number, things_only in expected:
        actual = sum(category.is_thing or not things_only for category in categories)
        if actual != number:
            what = "thing classes" if things_only else "classes"
            text = f"is {number}, but the data set has {actual} {what}"
            dataset.findings.append(Finding("class-count-mismatch", key, text))
