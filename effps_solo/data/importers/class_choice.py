"""Which classes an import has: a list of the user, what the annotations say, or a list to be edited first."""

from pathlib import Path
from typing import Any, Container, Dict, List, Optional, Sequence, Tuple

from effps_solo.utils.errors import hint_at

from .classes import ClassList, Entries, Label, as_entry, read_entries, write_template
from .files import SourceError, read_lists
from .source import Export

CLASSES_NAME = "classes.yaml"


def choose_classes(
    export: Export,
    output: Path,
    *,
    file: str = "",
    stuff: Optional[Sequence[str]] = None,
    background: str = "",
    splits: Sequence[str] = (),
) -> Tuple[Optional[ClassList], List[str]]:
    """The classes of an import, and remarks: the export's, and which labels are no classes.

    In this order: ``file``; things but for ``stuff`` and ``background``; classes.yaml in the output; what
    the annotations say themselves, if they say it of every label.

    Args:
        output: the folder of the data set.
        file: a class list.
        stuff: labels of stuff, all others are things unless the annotations say otherwise.
        background: the class of stuff that lies where no annotation does.
        splits: that are imported; classes of other splits in the output stay.

    Returns:
        None instead of the classes: nobody says it; classes.yaml was written for the user to edit.

    Raises:
        SourceError: a list cannot be used, or the annotations have no such label.
    """
    template = output / CLASSES_NAME
    if file and stuff is not None:
        raise SourceError("--stuff and --classes both say what is stuff; leave one out")
    if stuff is None and not file and template.is_file():
        file = str(template)
    if file:
        entries = export.complete(read_entries(file), file)
        classes = ClassList(entries, file, background)
        named = {label for entry in entries for label in entry.get("labels", [entry["name"]])}
        return classes, _remarks(export, named)
    declared = export.count_labels()
    if not declared:
        raise SourceError("no annotation has a label")
    labels = [label for label in declared if label.num_annotations] or declared
    unused = ", ".join(label.name for label in declared if label not in labels)
    remarks = [
        *_remarks(export),
        *[f"labels of nothing with an area are left out: {unused}"] * bool(unused),
    ]
    said = all(label.isthing is not None for label in labels)
    if stuff is None and not background and not said:
        write_template(template, labels, remarks)
        return None, remarks
    entries = [as_entry(label) for label in _with_stuff(labels, stuff or (), background)]
    classes = ClassList(_with_others(entries, output, splits), "the annotations", background)
    return classes, remarks


def _remarks(export: Export, named: Container[str] = ()) -> List[str]:
    """Those of the export, and which categories are no classes; ``named``: those that a class list has."""
    unused = ", ".join(text for name, text in export.unused.items() if name not in named)
    remark = f"categories without an annotation are left out: {unused}"
    return [*export.remarks, *[remark] * bool(unused)]


def _with_stuff(labels: Sequence[Label], stuff: Sequence[str], background: str) -> List[Label]:
    """Labels that the user calls stuff are stuff; the background is, unless the annotations deny it."""
    names = [label.name for label in labels]
    for name in stuff:
        if name not in names:
            hint = hint_at(name, names)
            raise SourceError(f"--stuff names '{name}', which no annotation has; {hint}")
    labels = [label._replace(isthing=0) if label.name in stuff else label for label in labels]
    return [
        label._replace(isthing=label.isthing or 0) if label.name == background else label
        for label in labels
    ]


def _with_others(entries: Entries, output: Path, splits: Sequence[str]) -> Entries:
    """The entries, and classes that occur in other splits alone, with one id and order for all."""
    own = {entry["name"]: entry for entry in entries}
    known: Dict[str, Dict[str, Any]] = {}
    for _, categories in other_splits(output, splits):
        for category in categories:
            known.setdefault(category["name"], category)
    taken = {category["id"] for category in known.values()}
    new = [entry for name, entry in own.items() if name not in known]
    return [
        *({**own.get(name, category), "id": category["id"]} for name, category in known.items()),
        *({k: v for k, v in e.items() if k != "id" or v not in taken} for e in new),
    ]


def other_splits(output: Path, splits: Sequence[str]) -> List[Tuple[Path, Entries]]:
    """(JSON, its categories) of the splits that an import left in the output, but for ``splits``."""
    found = []
    for path in sorted(output.glob("panoptic_*.json")):
        if path.stem.removeprefix("panoptic_") not in splits:
            found.append((path, read_lists(str(path), "categories")["categories"]))
    return found
