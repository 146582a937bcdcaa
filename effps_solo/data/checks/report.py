"""What was found, for people and for machines."""

from typing import Any, Dict, List, Sequence

from .findings import ERROR, HINT, KINDS, LEVELS, WARNING, Finding
from .run import CheckedDataset

# Exit statuses; 1 and 2 stay for crashes and unusable input.
STATUS = {HINT: 0, WARNING: 3, ERROR: 4}
_INDENT = " " * 11


def count_levels(checked: Sequence[CheckedDataset]) -> Dict[str, int]:
    """Number of findings of each level."""
    levels = [finding.level for dataset in checked for finding in dataset.findings]
    return {level: levels.count(level) for level in LEVELS}


def exit_status(checked: Sequence[CheckedDataset]) -> int:
    """0 when there are hints at most, 3 with warnings, 4 with errors."""
    counts = count_levels(checked)
    return max(STATUS[level] for level in LEVELS if counts[level] or level == HINT)


def as_text(checked: Sequence[CheckedDataset], num_examples: int = 3) -> str:
    """The report for people.

    Args:
        num_examples: findings that are shown of each kind and data set; 0: all.
    """
    lines: List[str] = []
    for dataset in checked:
        lines += [_headline(dataset), *_kind_lines(dataset.findings, num_examples), ""]
    counts = count_levels(checked)
    parts = [f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items()]
    return "\n".join([*lines, f"total: {', '.join(parts)}"])


def _headline(dataset: CheckedDataset) -> str:
    statistics, classes = dataset.statistics, dataset.plan.classes
    things = sum(category.is_thing for category in classes.values())
    return (
        f"{dataset.name}: {statistics.num_images} images, {statistics.num_segments} segments, "
        f"{len(classes)} classes ({things} things)"
    )


def _kind_lines(findings: Sequence[Finding], num_examples: int) -> List[str]:
    lines = []
    for kind in dict.fromkeys(finding.kind for finding in findings):
        found = [finding for finding in findings if finding.kind == kind]
        level, remedy = KINDS[kind]
        lines.append(f"  {level:7}  {kind} ({len(found)}): {remedy}")
        shown = found[: num_examples or None]
        lines += [f"{_INDENT}{finding.subject}: {finding.text}" for finding in shown]
        if len(found) > len(shown):
            lines.append(f"{_INDENT}... and {len(found) - len(shown)} more")
    return lines or ["  nothing found"]


def as_dict(checked: Sequence[CheckedDataset]) -> Dict[str, Any]:
    """The report as JSON types: every finding, and counts of data sets and classes."""
    found = {finding.kind for dataset in checked for finding in dataset.findings}
    return {
        "status": exit_status(checked),
        "counts": count_levels(checked),
        "kinds": {kind: KINDS[kind]._asdict() for kind in KINDS if kind in found},
        "datasets": [_dataset_dict(dataset) for dataset in checked],
    }


def _dataset_dict(dataset: CheckedDataset) -> Dict[str, Any]:
    source, statistics = dataset.plan.source, dataset.statistics
    return {
        "name": source.name,
        "images": source.images,
        "panoptic_png": source.panoptic_png,
        "panoptic_json": source.panoptic_json,
        "num_images": statistics.num_images,
        "num_segments": statistics.num_segments,
        "classes": [
            {
                "id": category_id,
                "name": category.name,
                "isthing": category.is_thing,
                **vars(statistics.classes[category_id]),
            }
            for category_id, category in dataset.plan.classes.items()
        ],
        "findings": [
            {"kind": f.kind, "level": f.level, "subject": f.subject, "text": f.text}
            for f in dataset.findings
        ],
    }
