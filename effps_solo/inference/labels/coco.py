"""Labels as one COCO file, ``instances.json``, with all images and categories.

Stuff is there, too; ``isthing`` and ``color`` of the categories, as in COCO's panoptic files, tell it from
things. Segments are polygons, those with holes uncompressed run lengths. A ``score`` as in COCO's results.
"""

import json
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np

from effps_solo.inference.result import write_file
from effps_solo.structures.classes import PanopticClass
from effps_solo.utils.version import __version__

from .base import Entry, LabelWriter
from .outlines import Outline
from .polygons import run_lengths, without_inset

JSON_NAME = "instances.json"
_IMAGE_KEYS = ("id", "width", "height", "file_name")


class CocoWriter(LabelWriter):
    """Writes instances.json and classes.yaml."""

    def __init__(
        self, folder: Path, classes: Sequence[PanopticClass], tolerance: float = 0.0
    ) -> None:
        """See :class:`LabelWriter`."""
        super().__init__(folder, classes, tolerance)
        self._images: List[Dict[str, Any]] = []
        self._annotations: List[str] = []  # JSON, which takes less memory

    def add_outlines(self, entry: Entry, outlines: Sequence[Outline]) -> None:
        image = entry["image"]
        self._images.append(image)
        for outline in outlines:
            annotation = {
                "id": len(self._annotations) + 1,
                "image_id": image["id"],
                "category_id": outline.category_id,
                "segmentation": _segmentation(outline, (image["height"], image["width"])),
                "area": outline.area,
                "bbox": list(outline.bbox),
                "iscrowd": 0,
                "score": round(outline.score, 4),
            }
            self._annotations.append(json.dumps(annotation))

    def close(self) -> None:
        super().close()
        head = {
            "info": {"description": f"predictions of effps_solo {__version__}"},
            "licenses": [],
            "categories": [_category(entry) for entry in self.classes],
            "images": [{key: image[key] for key in _IMAGE_KEYS} for image in self._images],
        }
        annotations = ",\n".join(self._annotations)
        text = f'{json.dumps(head)[:-1]}, "annotations": [\n{annotations}]}}'
        write_file(self.folder / JSON_NAME, text)


def _category(entry: PanopticClass) -> Dict[str, Any]:
    extras = {"supercategory": "", "isthing": int(entry.isthing), "color": list(entry.color)}
    return {"id": entry.dataset_id, "name": entry.name, **extras}


def _segmentation(outline: Outline, size: Sequence[int]) -> Any:
    if not outline.has_holes:
        return [_as_numbers(without_inset(part)) for part in outline.parts]
    mask = np.zeros(size, dtype=bool)
    mask[outline.window] = outline.mask
    return {"counts": run_lengths(mask.T.ravel()), "size": list(size)}  # column by column


def _as_numbers(points: np.ndarray) -> List[float]:
    """x, y, x, y ...; whole numbers without a decimal point."""
    return [int(value) if value.is_integer() else value for value in points.ravel().tolist()]
