"""The categories of COCO JSON files as labels: one for each name that annotations use."""

import re
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple

from effps_solo.structures.classes import is_color

from .classes import Entries, Label, as_entry, label_key
from .files import SourceError
from .geometry import short

Key = str  # of an id, which is a number in one list and a text in another


def id_key(value: Any, what: str) -> Key:
    """An id for comparisons: 1, 1.0 and "1" are one.

    Args:
        what: has the id, for messages.

    Raises:
        SourceError: it is neither a number nor a text.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise SourceError(f"{what} is {short(value)}; it must be a whole number")
    return str(value).strip()


def flag(value: Any) -> Optional[int]:
    """0 or 1 of what files write for a flag; None: it says nothing."""
    return {"0": 0, "1": 1, "false": 0, "true": 1}.get(
        str(value).strip().lower().removesuffix(".0")
    )


def rgb(value: Any) -> Optional[List[int]]:
    """[r, g, b], 0 .. 255, of such a list or of "#rrggbb"; None: it is neither."""
    if isinstance(value, str) and re.fullmatch("#[0-9a-fA-F]{6}", value):
        return [int(value[k : k + 2], 16) for k in (1, 3, 5)]
    return list(value) if value is not None and is_color(value) else None


class Category(NamedTuple):
    """A category of a file, with the number of its annotations."""

    key: Key
    name: str
    num_annotations: int
    isthing: Optional[int]
    color: Optional[List[int]]


def read_categories(
    categories: Iterable[Dict[str, Any]], counts: Mapping[Key, int], file: str
) -> List[Category]:
    """The categories of a file.

    Args:
        counts: of annotations by category.

    Raises:
        SourceError: a category has no id, or two have one.
    """
    found: Dict[Key, Category] = {}
    for entry in categories:
        key = id_key(entry.get("id"), f"{file}: the id of category {short(entry)}")
        name = label_key(entry.get("name")) or f"category {key}"
        colour = rgb(entry.get("color"))
        own = Category(key, name, counts.get(key, 0), flag(entry.get("isthing")), colour)
        if found.setdefault(key, own).name != name:
            raise SourceError(
                f"{file}: categories '{found[key].name}' and '{name}' have the id {key}"
            )
    return list(found.values())


def declared_labels(categories: Sequence[Category]) -> Tuple[Dict[str, Label], Dict[str, str]]:
    """The labels that annotations use, all if they use none.

    Categories of one name are one label. A label that is alone is a thing: COCO's annotations are instances.

    Args:
        categories: of all files of an export.

    Returns:
        name -> label, and the unused ones of ``Export``.
    """
    used = [category for category in categories if category.num_annotations] or list(categories)
    found: Dict[str, Label] = {}
    for key, name, count, isthing, color in used:
        own_id = int(key) if re.fullmatch(r"\d{1,9}", key) else None
        if own_id in {label.id for other, label in found.items() if other != name}:
            own_id = None  # files of one export may number their categories apart
        first = found.setdefault(name, Label(name, 0, isthing, own_id, color))
        found[name] = first._replace(num_annotations=first.num_annotations + count)
    if len(found) == 1:
        found = {
            name: label._replace(isthing=1 if label.isthing is None else label.isthing)
            for name, label in found.items()
        }
    known = {(category.key, category.name) for category in used}
    return found, {c.name: f"{c.name} (id {c.key})" for c in categories if c[:2] not in known}


def complete_entries(
    declared: Mapping[str, Label], semantic: bool, entries: Entries, file: str
) -> Entries:
    """See ``Export.complete``: ids and colours of the categories.

    Beside semantic PNGs the numbers among labels, or else the id, are pixel values, and categories that no
    entry names are things.

    Raises:
        SourceError: a class of pixel values is a thing, or has no value.
    """
    completed: Entries = []
    named: Set[str] = set()
    taken = {entry.get("id") for entry in entries}
    for entry in entries:
        labels = entry.get("labels", [entry["name"]])
        texts = [label_key(one) for one in labels if not (semantic and isinstance(one, int))]
        known = [declared[text] for text in texts if text in declared]
        own = {**entry, "labels": texts}
        if semantic:
            own["labels"] = texts + _pixel_labels(entry, bool(known), file)
        for label in known[:1]:
            if label.id is not None and label.id not in taken:
                own.setdefault("id", label.id)
            if label.color is not None:
                own.setdefault("color", label.color)
        named.update(label.name for label in known)
        completed.append(own)
    others = [label for name, label in declared.items() if semantic and name not in named]
    return [as_entry(label) for label in others] + completed


def _pixel_labels(entry: Mapping[str, Any], is_category: bool, file: str) -> List[str]:
    """The labels of an entry that stand for pixel values."""
    values = [label for label in entry.get("labels", ()) if isinstance(label, int)]
    if "labels" not in entry and not is_category:
        if "id" not in entry:
            raise SourceError(
                f"{file}: {entry['name']} has no id and no labels; name its values in the PNGs"
            )
        values = [entry["id"]]
    if values and entry["isthing"]:
        raise SourceError(
            f"{file}: {entry['name']} is a thing; list stuff only, things come from --annotations"
        )
    return [pixel_label(value) for value in values]


def pixel_label(value: int) -> str:
    """The label of a value in a semantic PNG."""
    return f"pixel value {value}"
