"""The files of an export of YOLO: data.yaml, the images of each split, and the text file of an image."""

import os
from collections import defaultdict
from pathlib import Path, PurePath
from typing import Any, Dict, List, Mapping, Optional, Tuple

import yaml

from effps_solo.utils.image_io import IMAGE_SUFFIXES

from .classes import label_key
from .files import ForeignFileError, SourceError, walk
from .image_index import ImageIndex
from .splits import split_word

_SPLITS = ("train", "val", "test")
_IMAGES, _LABELS = "images", "labels"  # folders
_CLASSES_TXT = "classes.txt"  # of Label Studio and labelImg: a name in each line

Names = Optional[Tuple[str, ...]]  # of the classes by number; None: they have numbers alone


def find_config(annotations: str) -> Tuple[str, Mapping[str, Any]]:
    """Path and content of data.yaml; ("", {}): there is none.

    Raises:
        SourceError: there are several, or the file is another.
    """
    if os.path.isfile(annotations):
        content = _with_names(annotations)
        if content is None:
            raise ForeignFileError(f"{annotations} is no data.yaml with 'names'")
        return annotations, content
    paths = [str(p) for p in walk(annotations) if p.suffix.lower() in (".yaml", ".yml")]
    contents = {path: _with_names(path) for path in paths}
    found = {path: content for path, content in contents.items() if content is not None}
    if len(found) > 1:
        raise SourceError(f"--annotations '{annotations}' holds {', '.join(found)}; name one file")
    return next(iter(found.items()), ("", {}))


def _with_names(path: str) -> Optional[Mapping[str, Any]]:
    """The content of a YAML file; None: it is none with names."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            content = yaml.safe_load(file)
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return None
    return content if isinstance(content, dict) and "names" in content else None


def class_names(content: Mapping[str, Any], config: str, folder: str) -> Names:
    """The names in data.yaml, or else in classes.txt.

    Raises:
        SourceError: they are none.
    """
    if not config:
        path = next((path for path in walk(folder) if path.name == _CLASSES_TXT), None)
        return None if path is None else _as_text(dict(enumerate(text_lines(str(path)))))
    names = content["names"]
    try:
        by_number = dict(enumerate(names)) if isinstance(names, list) else dict(names)
        numbers = {int(number): name for number, name in by_number.items()}
    except (TypeError, ValueError, OverflowError) as error:
        raise SourceError(f"{config}: 'names' must be a list, or names by number") from error
    if sorted(numbers) != list(range(len(numbers))):
        raise SourceError(f"{config}: the classes in 'names' are not numbered from 0 on")
    if not all(isinstance(name, (str, int, float)) for name in numbers.values()):
        raise SourceError(f"{config}: 'names' holds something else than names")
    return _as_text(numbers)


def _as_text(names: Mapping[int, Any]) -> Tuple[str, ...]:
    """By number, which stands for a name that is empty."""
    return tuple(label_key(names[number]) or str(number) for number in range(len(names)))


def text_lines(path: str) -> List[str]:
    """The lines of a text file, without spaces around them, down to the last that is not empty.

    Raises:
        SourceError: it is no text.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as text: {error}") from error
    return [line.strip() for line in text.rstrip().split("\n")] if text.strip() else []


def listed_images(
    content: Mapping[str, Any], config: str, images: str
) -> Tuple[Dict[str, List[str]], List[str]]:
    """The images of each split that data.yaml names, and remarks about what is not there.

    Args:
        images: the folder of the images, instead of those in data.yaml; "": none.

    Raises:
        SourceError: a list names an image that is not there.
    """
    folder, splits = Path(config).parent, {}
    remarks = []
    index = ImageIndex(images or str(folder))
    for split in _SPLITS:
        told = content.get(split) or []
        own: List[str] = []
        for text in told if isinstance(told, list) else [told]:
            path = _existing(str(text), str(content.get("path") or ""), folder)
            if path is None:
                remarks.append(f"{split}: {config} names {text}, which is not there")
            elif path.is_file():
                names = [line for line in text_lines(str(path)) if line]
                own += [index.find_file(name, str(path)) for name in names]
            elif not images:
                own += images_below(str(path))
        if own:
            splits[split] = list(dict.fromkeys(own))
    return splits, [] if images else remarks


def _existing(text: str, root: str, folder: Path) -> Optional[Path]:
    """A path as seen from ``path`` of data.yaml or, as Roboflow means it, from the file itself."""
    inside = PurePath(*(part for part in PurePath(text).parts if part != ".."))
    for path in (folder / root / text, folder / text, folder / inside):
        try:
            if path.exists() and path.resolve() != Path(path.resolve().anchor):
                return path
        except (OSError, ValueError):  # such a name cannot be
            continue
    return None


def images_below(folder: str) -> List[str]:
    """The images below a folder."""
    return [str(path) for path in walk(folder) if path.suffix.lower() in IMAGE_SUFFIXES]


class LabelFiles:
    """The text files below a folder."""

    def __init__(self, folder: str) -> None:
        self._by_name: Dict[str, List[str]] = defaultdict(list)
        for path in walk(folder):
            if path.suffix.lower() == ".txt" and path.name != _CLASSES_TXT:
                self._by_name[path.stem].append(str(path))

    def of(self, image: str) -> str:
        """The file of an image: beside "images" in "labels", beside the image, or of its name; "": none.

        Raises:
            SourceError: several may be meant.
        """
        path = Path(image)
        parts = list(path.parts)
        at = [k for k, part in enumerate(parts) if part == _IMAGES]
        if at:
            parts[at[-1]] = _LABELS
        for own in (Path(*parts).with_suffix(".txt"), path.with_suffix(".txt")):
            if own.is_file():
                return str(own)
        found = self._by_name.get(path.stem, [])
        split = split_word(str(path.parent / "_"))
        found = [file for file in found if split_word(f"{Path(file).parent}/_") == split] or found
        if len(found) > 1:
            raise SourceError(f"{image}: {', '.join(found[:3])} may be its labels; keep one")
        return found[0] if found else ""

    def others(self, used: List[str]) -> List[str]:
        """All but ``used``."""
        known = set(map(os.path.abspath, used))
        paths = [path for same in self._by_name.values() for path in same]
        return [path for path in paths if os.path.abspath(path) not in known]
