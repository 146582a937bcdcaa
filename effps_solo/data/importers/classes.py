"""The class list of an import: a YAML or JSON list in the words of COCO's categories.

    - {name: person, isthing: 1}
    - {name: sky, isthing: 0, id: 23, color: [70, 130, 180], labels: [sky, clouds]}

``id`` is by default the next free one, ``labels``, what stands for the class in the annotations, its
name. Labels that no class names become void.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Union

import yaml

from effps_solo.utils.atomic import write_atomically

from .files import SourceError

FIELDS = ("name", "isthing", "id", "color", "labels")
Label = Union[str, int]


class ClassList:
    """Classes and the labels that stand for them.

    Attributes:
        categories: as a panoptic JSON has them: id, name, isthing and, if given, color.
    """

    def __init__(self, entries: Iterable[Mapping[str, Any]], file: str) -> None:
        """
        Args:
            entries: checked ones.
            file: where they come from, for messages.

        Raises:
            SourceError: two classes have an id, a name or a label in common.
        """
        own: List[Dict[str, Any]] = [dict(entry) for entry in entries]
        for key in ("id", "name"):
            _check_unique([e[key] for e in own if key in e], f"the {key}", file)
        _check_unique([label for e in own for label in _labels(e)], "the label", file)
        taken = {entry["id"] for entry in own if "id" in entry}
        self.categories: List[Dict[str, Any]] = []
        self._by_label: Dict[Label, Dict[str, Any]] = {}
        for entry in own:
            if "id" not in entry:
                entry["id"] = max(taken, default=0) + 1
                taken.add(entry["id"])
            category: Dict[str, Any] = {
                key: entry[key] for key in ("id", "name", "isthing", "color") if key in entry
            }
            category["isthing"] = int(category["isthing"])
            self.categories.append(category)
            self._by_label.update(dict.fromkeys(_labels(entry), category))

    def find(self, label: Label) -> Optional[Dict[str, Any]]:
        """The category that a label stands for; None: void."""
        return self._by_label.get(label)

    def __repr__(self) -> str:
        return f"ClassList({self.categories}, {self._by_label})"


def read_entries(path: str) -> List[Dict[str, Any]]:
    """The checked entries of a class list file.

    Raises:
        SourceError: it is missing, holds no list, or an entry cannot be used.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)  # JSON is YAML
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SourceError(f"--classes {path} cannot be read as YAML or JSON: {error}") from error
    if not isinstance(content, list) or not content:
        raise SourceError(f"{path} holds no list of classes such as '- {{name: car, isthing: 1}}'")
    for entry in content:
        _check_entry(entry, path)
    return content


def write_template(path: Path, labels: Counter) -> None:
    """A class list with every label as a thing, for the user to edit."""
    lines = [
        "# isthing: 1 for what can be counted, 0 for the rest. A label without a line is void.",
        *(
            f"- {{name: {_quoted(label)}, isthing: 1}}  # {count} shapes"
            for label, count in labels.most_common()
        ),
    ]
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def _quoted(label: str) -> str:
    text: str = yaml.safe_dump([str(label)], default_flow_style=True, allow_unicode=True)
    return text.strip()[1:-1]


def _labels(entry: Mapping[str, Any]) -> Sequence[Label]:
    labels: Sequence[Label] = entry.get("labels", [entry["name"]])
    return labels


def _check_entry(entry: Any, path: str) -> None:
    if not isinstance(entry, dict) or not {"name", "isthing"} <= set(entry) <= set(FIELDS):
        raise SourceError(
            f"{path}: class {entry} must have name and isthing, and may have {', '.join(FIELDS[2:])}"
        )
    color = entry.get("color", [0, 0, 0])
    usable = (
        isinstance(entry["name"], str)
        and entry["isthing"] in (0, 1)
        and isinstance(entry.get("id", 0), int)
        and isinstance(entry.get("labels", []), list)
        and all(isinstance(label, (str, int)) for label in entry.get("labels", []))
        and isinstance(color, list)
        and len(color) == 3
        and all(isinstance(channel, int) and 0 <= channel <= 255 for channel in color)
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
