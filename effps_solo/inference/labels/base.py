"""What the writers of all formats have in common."""

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Mapping, Sequence

import numpy as np

from effps_solo.inference.result import write_file
from effps_solo.structures.classes import PanopticClass

from .outlines import Outline, outline_segments

CLASSES_NAME = "classes.yaml"
Entry = Mapping[str, Any]


class LabelWriter(ABC):
    """Writes the segments of images as polygons into a folder."""

    def __init__(
        self, folder: Path, classes: Sequence[PanopticClass], tolerance: float = 0.0
    ) -> None:
        """
        Args:
            folder: of the results.
            classes: of the model.
            tolerance: see :func:`.outlines.outline_segments`.
        """
        self.folder, self.classes, self._tolerance = folder, tuple(classes), tolerance
        self.class_of = {entry.dataset_id: entry for entry in classes}

    def add(self, entry: Entry, ids: np.ndarray) -> None:
        """Take in an image. Raises UserError when a file cannot be written.

        Args:
            entry: as :meth:`effps_solo.inference.result.PanopticResult.to_coco` makes it, with the absolute
                path of the image as ``entry["image"]["source"]``; the ``file_name`` counts that it has in
                :meth:`close`, since it depends on where all images lie.
            ids: (H, W) segment ids.
        """
        segments = entry["annotation"]["segments_info"]
        self.add_outlines(entry, outline_segments(ids, segments, self._tolerance))

    def has(self, entry: Entry) -> bool:
        """Whether an earlier run left the labels of an image, which stay then."""
        return False

    @abstractmethod
    def add_outlines(self, entry: Entry, outlines: Sequence[Outline]) -> None:
        """Take in the polygons of an image."""

    def close(self) -> None:
        """Write what belongs to all images together. Raises UserError when that fails.

        In every format ``classes.yaml``, which tells ``import-dataset`` what the labels cannot: things, ids,
        colours, and the classes that no image shows.
        """
        lines = [
            json.dumps(
                {
                    "name": entry.name,
                    "isthing": int(entry.isthing),
                    "id": entry.dataset_id,
                    "color": list(entry.color),
                }
            )
            for entry in self.classes
        ]
        # A list of JSON objects, line by line, is YAML.
        write_file(self.folder / CLASSES_NAME, "".join(f"- {line}\n" for line in lines))
