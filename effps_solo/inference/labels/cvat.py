"""Labels as "CVAT for images 1.1", the file ``annotations.xml``.

Segments are polygons, those with holes masks, whose run lengths go through the pixels of the box row by
row. The parts of an object have one ``group_id``. Things lie over stuff.
"""

from pathlib import Path
from typing import Any, Iterator, List, Mapping, Sequence, Tuple
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from effps_solo.inference.result import write_file
from effps_solo.structures.classes import PanopticClass

from .base import Entry, LabelWriter
from .outlines import Outline
from .polygons import run_lengths

XML_NAME = "annotations.xml"


class CvatWriter(LabelWriter):
    """Writes annotations.xml and classes.yaml."""

    def __init__(
        self, folder: Path, classes: Sequence[PanopticClass], tolerance: float = 0.0
    ) -> None:
        """See :class:`LabelWriter`."""
        super().__init__(folder, classes, tolerance)
        self._images: List[Tuple[Mapping[str, Any], str]] = []  # with the shapes

    def add_outlines(self, entry: Entry, outlines: Sequence[Outline]) -> None:
        shapes = "\n".join(shape for outline in outlines for shape in self._shapes(outline))
        self._images.append((entry["image"], shapes))

    def close(self) -> None:
        super().close()
        in_order = sorted(self._images, key=lambda image: image[0]["file_name"])  # CVAT's
        images = [
            f'  <image id="{k}" name={quoteattr(image["file_name"])} width="{image["width"]}" '
            f'height="{image["height"]}">\n{shapes}\n  </image>'
            for k, (image, shapes) in enumerate(in_order)
        ]
        lines = [
            '<?xml version="1.0" encoding="utf-8"?>',
            "<annotations>",
            "  <version>1.1</version>",
            *self._meta(),
            *images,
            "</annotations>",
        ]
        # Names of files can hold what is no text.
        write_file(self.folder / XML_NAME, ("\n".join(lines) + "\n").encode(errors="replace"))

    def _meta(self) -> Iterator[str]:
        yield "  <meta>\n    <task>"
        yield f"      <size>{len(self._images)}</size>\n      <mode>annotation</mode>"
        yield "      <labels>"
        for entry in self.classes:
            color = "#{:02x}{:02x}{:02x}".format(*entry.color)
            yield f"        <label>\n          <name>{escape(entry.name)}</name>"
            yield f"          <color>{color}</color>\n          <type>any</type>"
            yield "          <attributes>\n          </attributes>\n        </label>"
        yield "      </labels>\n    </task>\n  </meta>"

    def _shapes(self, outline: Outline) -> Iterator[str]:
        label = quoteattr(self.class_of[outline.category_id].name)
        head = f'label={label} source="auto" occluded="0"'
        tail = f'z_order="{int(outline.isthing)}"'
        if outline.has_holes:
            left, top, width, height = outline.bbox
            counts = ", ".join(map(str, run_lengths(outline.mask.ravel())))
            box = f'left="{left}" top="{top}" width="{width}" height="{height}"'
            yield f'    <mask {head} rle="{counts}" {box} {tail}>\n    </mask>'
            return
        if outline.isthing and len(outline.parts) > 1:
            tail += f' group_id="{outline.id}"'
        for part in outline.parts:
            yield f'    <polygon {head} points="{_points(part)}" {tail}>\n    </polygon>'


def _points(part: np.ndarray) -> str:
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in part.tolist())
