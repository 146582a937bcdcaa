"""A folder of predictions: pictures and id PNGs of images, and one ``panoptic.json`` of them all.

Labels for labelling tools beside them, where they are wanted.
"""

import json
import os
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Set

from effps_solo.structures.classes import PanopticClass
from effps_solo.structures.panoptic_png import PANOPTIC_SUFFIX, read_segment_ids
from effps_solo.utils.errors import UserError

from .labels.base import LabelWriter
from .result import PanopticResult, coco_panoptic, write_file

JSON_NAME = "panoptic.json"
_SECONDS_BETWEEN_JSONS = 60.0


class PanopticWriter:
    """Writes ``NAME_overlay.png``, ``NAME_panoptic.png`` and one ``panoptic.json`` to a folder.

    The PNG and the JSON are in COCO panoptic layout: id = R + 256 G + 65536 B, 0 is void,
    ``category_id`` is the id of the data set's own files, and the ``file_name`` of an image is its path
    as seen from the deepest folder above all images.
    """

    def __init__(
        self,
        folder: Path,
        classes: Sequence[PanopticClass],
        *,
        resume: bool = False,
        label_writer: Optional[LabelWriter] = None,
        **drawing: Any,
    ) -> None:
        """
        Args:
            folder: created when missing.
            classes: of the model.
            resume: keep what an earlier run left in ``folder``, see :attr:`done`.
            label_writer: gets the segments of all images, too.
            drawing: options of :meth:`PanopticResult.overlay`.

        Raises:
            UserError: the ``panoptic.json`` to resume from cannot be read, or is of another model.
        """
        self.folder, self.classes, self.drawing = folder, tuple(classes), drawing
        self._label_writer = label_writer
        self._entries = _earlier_entries(folder, self.classes) if resume else []
        self._last_id = max((entry["image"]["id"] for entry in self._entries), default=0)
        self._names: Set[str] = {_name_of(entry) for entry in self._entries}
        self._counts: Dict[str, int] = {}  # stem -> number in the last name that was made of it
        self._last_json = time.monotonic()

    def __len__(self) -> int:
        """Number of images so far."""
        return len(self._entries)

    @property
    def done(self) -> Set[str]:
        """Absolute paths of the images so far."""
        return {os.path.abspath(entry["image"]["source"]) for entry in self._entries}

    def add(self, path: Path, result: PanopticResult) -> None:
        """Write the files of the image ``path``. Raises UserError when that fails."""
        name = self._unique_name(path.stem)
        result.save_pictures(self.folder, name, **self.drawing)
        self._last_id += 1
        entry = result.to_coco(path.name, name, image_id=self._last_id)
        entry["image"]["source"] = os.path.abspath(path)
        if self._label_writer:
            self._label_writer.add(entry, result.panoptic)
        self._entries.append(entry)
        if time.monotonic() - self._last_json > _SECONDS_BETWEEN_JSONS:
            self.write_json()

    def add_earlier_labels(self) -> None:
        """Give the images of earlier runs to the label writer. Raises UserError when that fails."""
        if self._label_writer is None:
            return
        for entry in self._entries:
            if not self._label_writer.has(entry):
                png = self.folder / entry["annotation"]["file_name"]
                self._label_writer.add(entry, read_segment_ids(str(png)))

    def close(self) -> None:
        """Write ``panoptic.json`` and the labels of all images. Raises UserError when that fails."""
        self.write_json()
        if self._label_writer:
            self._label_writer.close()

    def write_json(self) -> Path:
        """Write ``panoptic.json``; returns its path. Raises UserError when that fails."""
        path = self.folder / JSON_NAME
        _name_images([entry["image"] for entry in self._entries])
        write_file(path, json.dumps(coco_panoptic(self._entries, self.classes)))
        self._last_json = time.monotonic()
        return path

    def _unique_name(self, stem: str) -> str:
        """``stem``, with a number when the results of another input have that name."""
        name, count = stem, self._counts.get(stem, 0)
        while name in self._names:
            count += 1
            name = f"{stem}_{count}"
        self._counts[stem] = count
        self._names.add(name)
        return name


def _earlier_entries(folder: Path, classes: Sequence[PanopticClass]) -> List[Dict[str, Any]]:
    """Of the ``panoptic.json`` in ``folder``, those whose PNG is there; none without that file."""
    path = folder / JSON_NAME
    if not path.is_file():
        return []
    try:
        content = json.loads(path.read_text())
        images = {image["id"]: image for image in content["images"]}
        entries = [
            {"image": images[annotation["image_id"]], "annotation": annotation}
            for annotation in content["annotations"]
        ]
        same_classes = content.get("categories") == coco_panoptic([], classes)["categories"]
        missing_source = [e for e in entries if "source" not in e["image"]]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be resumed from ({type(error).__name__}: {error}); remove it, or leave "
            "out --resume"
        ) from error
    if missing_source:
        raise UserError(f"{path} was not made by `effps-solo predict`; name another folder")
    if not same_classes:
        raise UserError(f"{path} is of a model with other classes; name another folder")
    return [e for e in entries if (folder / e["annotation"]["file_name"]).is_file()]


def _name_images(images: Sequence[Dict[str, Any]]) -> None:
    """Set each ``file_name``: the path below their common folder; the whole path where there is none."""
    folders = {os.path.dirname(image["source"]) for image in images}
    try:
        common = os.path.commonpath(folders)
    except ValueError:  # no image, or images on several drives
        common = ""
    for image in images:
        name = os.path.relpath(image["source"], common) if common else image["source"]
        image["file_name"] = Path(name).as_posix()


def _name_of(entry: Dict[str, Any]) -> str:
    name: str = entry["annotation"]["file_name"]
    return name.removesuffix(PANOPTIC_SUFFIX)
