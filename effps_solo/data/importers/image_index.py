"""Images by the names that annotations give them, whatever folders and suffixes those have."""

import contextlib
import os
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from effps_solo.utils.image_io import IMAGE_SUFFIXES

from .files import SourceError, walk

_CITYSCAPES_SUFFIX = "_leftImg8bit"


class ImageIndex:
    """The images below a folder, which is listed when the first of them is not where it should be."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._found: Optional[_Listed] = None

    def at(self, stem: str) -> Optional[str]:
        """The one image with this path below the folder, without suffix; None: there is none, or several."""
        found = _look_up(self._listed().by_path, stem)
        return found[0] if len(found) == 1 else None

    def find(self, stem: str, annotation: str) -> str:
        """The image of an annotation file.

        Args:
            stem: path relative to the folder, without suffix; another folder is no obstacle if the name
                occurs once.

        Raises:
            SourceError: no image, or several; names ``annotation``.
        """
        return self._only(self._named(stem), stem, annotation)

    def find_file(self, name: str, annotation: str) -> str:
        """The same of a path with suffix, which is preferred to one with another.

        Backslashes separate folders, too, where no file has them in its name.
        """
        as_called = self.existing(name)
        if as_called is not None:
            return as_called
        path = PurePosixPath(name.replace("\\", "/"))
        found = self._named(str(path.with_suffix("")) if path.name else "")
        same = [i for i in found if _keys(os.path.basename(i))[1] == _keys(path.name)[1]]
        return self._only(same or found, str(path), annotation)

    def existing(self, name: str) -> Optional[str]:
        """The path of a file that lies below the folder as it is called; None: there is none."""
        for text in (name, name.replace("\\", "/")):
            path = os.path.normpath(os.path.join(self.folder, text))
            inside = not os.path.isabs(text) and not os.path.normpath(text).startswith("..")
            if inside and os.path.isfile(path):
                return path
        return None

    def _named(self, stem: str) -> List[str]:
        listed = self._listed()
        by_name = _look_up(listed.by_name, os.path.basename(stem))
        return _look_up(listed.by_path, stem) or by_name

    def _listed(self) -> "_Listed":
        if self._found is None:
            self._found = _Listed({}, {})
            for path in walk(self.folder):
                if path.suffix.lower() in IMAGE_SUFFIXES:
                    self._add(path, self._found)
        return self._found

    def _add(self, path: Path, found: "_Listed") -> None:
        stem = path.stem.removesuffix(_CITYSCAPES_SUFFIX)
        relative = path.relative_to(self.folder)
        keys = {key for name in (stem, path.stem) for key in _keys(str(relative.with_name(name)))}
        for table, own in ((found.by_path, keys), (found.by_name, set(_keys(stem)))):
            for key in own:
                table.setdefault(key, []).append(str(path))

    def _only(self, found: List[str], name: str, annotation: str) -> str:
        if not self._listed().by_path:
            raise SourceError(f"--images '{self.folder}' is no folder with images")
        if len(found) != 1:
            reason = f"several images ({', '.join(found[:3])})" if found else "no image"
            raise SourceError(
                f"{annotation}: {reason} named '{os.path.basename(name)}' in '{self.folder}'; check "
                "--images"
            )
        return found[0]


class _Listed(NamedTuple):
    """Images by the keys of their paths below the folder and of their names, without suffix."""

    by_path: Dict[str, List[str]]
    by_name: Dict[str, List[str]]


def _look_up(table: Dict[str, List[str]], name: str) -> List[str]:
    return next((table[key] for key in _keys(name) if key in table), [])


def _keys(path: str) -> Tuple[str, str]:
    """As it is written, whatever its form of Unicode, and, which comes second, in letters of one case."""
    own = unicodedata.normalize("NFC", path)
    return own, f"\0{own.casefold()}"


def find_in(indexes: Sequence[ImageIndex], name: str, annotation: str) -> str:
    """The image of that path in one of several folders, the likely one first; else by its name alone.

    Raises:
        SourceError: see :meth:`ImageIndex.find_file`.
    """
    for index in indexes:
        found = index.existing(name)
        if found is not None:
            return found
    for index in indexes[:-1]:
        with contextlib.suppress(SourceError):
            return index.find_file(name, annotation)
    return indexes[-1].find_file(name, annotation)


def common_folder(images: List[str], folder: str) -> str:
    """``folder``, or a folder above it and all ``images`` where some lie outside of it."""
    outside = {str(Path(image).parent) for image in images if not is_below(image, folder)}
    return (
        os.path.commonpath([os.path.abspath(p) for p in (folder, *outside)]) if outside else folder
    )


def is_below(path: str, folder: str) -> bool:
    """Whether a file lies in a folder or below it, by its path alone."""
    relative = os.path.relpath(path, folder)
    return relative != ".." and not relative.startswith(f"..{os.sep}")
