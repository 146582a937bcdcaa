"""Where data sets lie, and reading their JSON files."""

import json
import os
from collections import Counter
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Set

from effps_solo.structures.panoptic_png import OVERLAY_SUFFIX, PANOPTIC_SUFFIX
from effps_solo.utils.errors import UserError

_NUM_EXAMPLES = 5


class DatasetError(UserError):
    """Files of a data set are missing or contradict each other; the message names the file."""


def data_root() -> str:
    """The folder of all data sets: $DETECTRON2_DATASETS, or "datasets" as in Detectron2."""
    return os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))


def expand(path: str) -> str:
    """``path`` with environment variables and ~ replaced.

    Raises:
        DatasetError: a variable is not set.
    """
    expanded = os.path.expanduser(os.path.expandvars(path))
    if "$" in expanded:
        raise DatasetError(f"'{path}' names an environment variable that is not set; set it")
    return expanded


def require_folder(path: str, what: str, remedy: str) -> None:
    """Raises DatasetError unless ``path`` is a folder."""
    if not os.path.isdir(path):
        raise DatasetError(f"{what} '{path}' is not a folder; {remedy}")


def require_file(path: str, what: str, remedy: str) -> None:
    """Raises DatasetError unless ``path`` is a file."""
    if not os.path.isfile(path):
        raise DatasetError(f"{what} '{path}' is missing; {remedy}")


def require_paths(metadata: Mapping[str, Any], what: str, remedy: str) -> None:
    """Raises DatasetError unless the folders and the JSON in Detectron2's ``metadata`` exist."""
    for key, kind in (
        ("image_root", "image folder"),
        ("gt_dir", "label folder"),
        ("panoptic_root", "folder of panoptic PNGs"),
    ):
        if metadata.get(key):
            require_folder(metadata[key], f"{what}{kind}", remedy)
    if metadata.get("panoptic_json"):
        require_file(metadata["panoptic_json"], f"{what}panoptic JSON", remedy)


def read_json_object(path: str, keys: Sequence[str]) -> Dict[str, Any]:
    """The object in a JSON file. Raises DatasetError unless ``keys`` are lists of objects in it."""
    try:
        with open(path, encoding="utf-8-sig") as file:  # with a byte order mark, too
            content = json.load(file)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not a JSON file: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} holds a {type(content).__name__}, not an object")
    if missing := [key for key in keys if not isinstance(content.get(key), list)]:
        raise DatasetError(f"{path} has no list {missing}; it must be a COCO panoptic JSON")
    for key in keys:
        if not all(isinstance(entry, dict) for entry in content[key]):
            raise DatasetError(f"{path}: the list '{key}' must hold objects only")
    return content


def files_below(folder: str) -> Set[str]:
    """Paths of all files below ``folder``, relative to it."""
    found = set()
    for parent, _, names in os.walk(folder, followlinks=True):
        relative = os.path.relpath(parent, folder)
        found |= {os.path.normpath(os.path.join(relative, name)) for name in names}
    return found


def overlays_of(pngs: Iterable[str]) -> Set[str]:
    """The pictures that ``predict`` writes beside panoptic PNGs, which are no annotations."""
    stems = [png.removesuffix(PANOPTIC_SUFFIX) for png in pngs if png.endswith(PANOPTIC_SUFFIX)]
    return {stem + OVERLAY_SUFFIX for stem in stems}


def repeated(values: Iterable[Any]) -> List[Any]:
    """The values that occur more than once, each once."""
    return [value for value, count in Counter(values).items() if count > 1]


def examples(names: Iterable[Any]) -> str:
    """The first names of a collection and how many there are more, for messages."""
    ordered = sorted(names, key=str)
    shown = ", ".join(str(name) for name in ordered[:_NUM_EXAMPLES])
    more = len(ordered) - _NUM_EXAMPLES
    return f"{shown} and {more} more" if more > 0 else shown
