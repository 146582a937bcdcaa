"""The class list of an import: a YAML or JSON list in the words of COCO's categories.

    - {name: person, isthing: 1}
    - {name: sky, isthing: 0, id: 23, color: [70, 130, 180], labels: [sky, clouds]}

``id`` is by default the next free one, ``labels``, what stands for the class in the annotations, its
name. Texts and numbers are one label where they read alike. Labels that no class names become void.
"""

import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence

import yaml

from effps_solo.structures.classes import is_color
from effps_solo.utils.atomic import write_atomically

from .files import SourceError

FIELDS = ("name", "isthing", "id", "color", "labels")


class Label(NamedTuple):
    """A label that occurs in annotations, or that their file declares.

    Attributes:
        name: as a text; see :func:`label_key`.
        num_annotations: that have it.
        isthing, id, color: what the file says about the class; None: nothing.
    """

    name: str
    num_annotations: int
    isthing: Optional[int] = None
    id: Optional[int] = None
    color: Optional[List[int]] = None


Entries = List[Dict[str, Any]]  # of a class list


def as_entry(label: Label) -> Dict[str, Any]:
    """The entry of a class list for a label; a thing unless its file says otherwise."""
    entry = {"name": label.name, "isthing": 1 if label.isthing is None else label.isthing}
    own = {"id": label.id, "color": label.color}
    return {**entry, **{key: value for key, value in own.items() if value is not None}}


def label_key(label: Any) -> str:
    """What two labels have in common that people take for one: the letters, whatever their type."""
    return unicodedata.normalize("NFC", "" if label is None else str(label)).strip()


class ClassList:
    """Classes and the labels that stand for them.

    Attributes:
        categories: as a panoptic JSON has them: id, name, isthing and, if given, color.
        background: the category of all that no annotation covers; None: void.
    """

    def __init__(
        self, entries: Iterable[Mapping[str, Any]], file: str, background: str = ""
    ) -> None:
        """
        Args:
            entries: checked ones.
            file: where they come from, for messages.
            background: the name of a class of stuff, which is added where there is none; "": none.

        Raises:
            SourceError: two classes have an id, a name or a label in common, or the background is a
                thing.
        """
        own: List[Dict[str, Any]] = [dict(entry) for entry in entries]
        if background and background not in {entry["name"] for entry in own}:
            own.append({"name": background, "isthing": 0})
        for key in ("id", "name"):
            _check_unique([e[key] for e in own if key in e], f"the {key}", file)
        _check_unique([key for e in own for key in _label_keys(e)], "the label", file)
        taken = {entry["id"] for entry in own if "id" in entry}
        self.categories: List[Dict[str, Any]] = []
        self._by_label: Dict[str, Dict[str, Any]] = {}
        for entry in own:
            if "id" not in entry:
                entry["id"] = max(taken, default=0) + 1
                taken.add(entry["id"])
            category: Dict[str, Any] = {
                key: entry[key] for key in ("id", "name", "isthing", "color") if key in entry
            }
            category["isthing"] = int(category["isthing"])
            self.categories.append(category)
            self._by_label.update(dict.fromkeys(_label_keys(entry), category))
        self.background = next((c for c in self.categories if c["name"] == background), None)
        if self.background is not None and self.background["isthing"]:
            raise SourceError(f"--background {background} is a thing in {file}; it must be stuff")

    def find(self, label: Any) -> Optional[Dict[str, Any]]:
        """The category that a label stands for; None: void."""
        return self._by_label.get(label_key(label))

    def __repr__(self) -> str:
        return f"ClassList({self.categories}, {self._by_label}, {self.background})"


def read_entries(path: str) -> List[Dict[str, Any]]:
    """The checked entries of a class list file.

    Raises:
        SourceError: it is missing, holds no list, or an entry cannot be used.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = yaml.safe_load(file)  # JSON is YAML
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SourceError(f"--classes {path} cannot be read as YAML or JSON: {error}") from error
    if not isinstance(content, list) or not content:
        raise SourceError(f"{path} holds no list of classes such as '- {{name: car, isthing: 1}}'")
    for entry in content:
        _check_entry(entry, path)
    return content


def write_template(path: Path, labels: Sequence[Label], remarks: Sequence[str] = ()) -> None:
    """A class list for the user to edit: every label as a thing, unless its file says otherwise."""
    lines = [
        "# isthing: 1 for what can be counted, 0 for the rest. A label without a line is void.",
        *(f"# {' '.join(remark.split())}" for remark in remarks),
        *map(_template_line, labels),
    ]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def _template_line(label: Label) -> str:
    fields = {**as_entry(label), "name": _quoted(label.name)}
    text = ", ".join(f"{key}: {value}" for key, value in fields.items())
    return f"- {{{text}}}  # {label.num_annotations} annotations"


def _quoted(label: str) -> str:
    text: str = yaml.safe_dump([label], default_flow_style=True, allow_unicode=True, width=10**6)
    return text.strip()[1:-1]


def _label_keys(entry: Mapping[str, Any]) -> List[str]:
    labels = entry.get("labels", [entry["name"]])
    return list(dict.fromkeys(map(label_key, labels)))


def _check_entry(entry: Any, path: str) -> None:
    if not isinstance(entry, dict) or not {"name", "isthing"} <= set(entry) <= set(FIELDS):
        raise SourceError(
            f"{path}: class {entry} must have name and isthing, and may have {', '.join(FIELDS[2:])}"
        )
    usable = (
        isinstance(entry["name"], str)
        and entry["isthing"] in (0, 1)
        and isinstance(entry.get("id", 0), int)
        and isinstance(entry.get("labels", []), list)
        and all(isinstance(label, (str, int)) for label in entry.get("labels", []))
        and is_color(entry.get("color"))
    )
    if not usable:
        raise SourceError(
            f"{path}: class {entry} needs a text as name, 0 or 1 as isthing, an integer as id, three "
            "numbers 0 .. 255 as color, a list as labels"
        )


def _check_unique(values: Sequence[Any], what: str, file: str) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise SourceError(f"{file}: several classes have {what} {twice[0]}")
