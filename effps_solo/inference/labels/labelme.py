"""Labels for labelme: a JSON for each image in the folder ``labelme``.

Fields and their values are those of labelme 5. An object of several parts has a polygon for each, with
one ``group_id``. Polygons have no holes; bridges without width lead to them.
"""

import json
import os
from pathlib import Path
from typing import Any, Dict, List, Sequence

from effps_solo.inference.result import write_file
from effps_solo.structures.panoptic_png import PANOPTIC_SUFFIX

from .base import Entry, LabelWriter
from .outlines import Outline

FOLDER = "labelme"  # apart from panoptic.json: labelme and its readers take every JSON in a folder
_VERSION = "5.5.0"


class LabelmeWriter(LabelWriter):
    """Writes labelme/NAME.json and classes.yaml."""

    def add_outlines(self, entry: Entry, outlines: Sequence[Outline]) -> None:
        image, path = entry["image"], self._path(entry)
        content = {
            "version": _VERSION,
            "flags": {},
            "shapes": [shape for outline in outlines for shape in self._shapes(outline)],
            "imagePath": _relative_path(image["source"], path.parent),
            "imageData": None,
            "imageHeight": image["height"],
            "imageWidth": image["width"],
        }
        write_file(path, json.dumps(content))

    def has(self, entry: Entry) -> bool:
        return self._path(entry).is_file()

    def _path(self, entry: Entry) -> Path:
        name = entry["annotation"]["file_name"].removesuffix(PANOPTIC_SUFFIX)
        return self.folder / FOLDER / f"{name}.json"

    def _shapes(self, outline: Outline) -> List[Dict[str, Any]]:
        is_group = outline.isthing and len(outline.parts) > 1
        return [
            {
                "label": self.class_of[outline.category_id].name,
                "points": part.round(2).tolist(),
                "group_id": outline.id if is_group else None,
                "description": f"score {outline.score:.2f}",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for part in outline.parts
        ]


def _relative_path(path: str, folder: Path) -> str:
    """With slashes; the path itself where it lies on another drive than the folder."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return Path(path).as_posix()
