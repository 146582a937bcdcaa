"""Pictures of panoptic predictions: colours, borders, labels and a legend in a tenth of a second.

Pixels are looked up in tables of 8-bit colours and blended by OpenCV; nothing is done for each segment
at full size.
"""

from typing import Mapping, Optional, Sequence, Tuple

import cv2
import numpy as np

from effps_solo.structures.classes import PanopticClass

from .labels import draw_labels, legend_strip
from .segment_tables import SegmentsInfo, SegmentTables

_BORDER = (255, 255, 255)  # of things
# Pixels and their right neighbours, pixels and their lower neighbours.
_NEIGHBOURS = (
    ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
    ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
)


def panoptic_overlay(
    image: np.ndarray,
    panoptic_seg: np.ndarray,
    segments_info: SegmentsInfo,
    classes: Sequence[PanopticClass],
    *,
    labels: bool = False,
    legend: bool = False,
    opacity: float = 0.5,
    max_size: int = 0,
    shades: Optional[Mapping[int, int]] = None,
) -> np.ndarray:
    """Segments in the colours of their classes over an image, objects in shades and with white borders.

    Args:
        image: (H, W, 3) uint8 RGB.
        panoptic_seg: (H, W) segment ids; void, that is 0 and ids that ``segments_info`` lacks, stays
            without colour.
        segments_info: id, category_id (contiguous), isthing and score of every segment.
        classes: by contiguous id.
        labels: write the classes, and the scores of things, where they cover no other thing.
        legend: add a strip below with the colours of the classes.
        opacity: of the colours, in [0, 1].
        max_size: pixels of the longer side at most, without the legend; 0: as it is.
        shades: segment id -> number that chooses the shade of a thing; by default its id. A number
            always means the same shade.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    image, panoptic_seg = _shrunk(image, panoptic_seg, max_size)
    tables = SegmentTables(panoptic_seg, segments_info, classes, shades or {})
    picture = _tinted(image, tables, opacity)
    _draw_borders(picture, tables)
    if labels:
        picture = draw_labels(picture, tables, segments_info, classes)
    if legend:
        present = {s["category_id"] for s in segments_info if s["id"] in tables.row_of_id}
        strip = legend_strip([classes[c] for c in sorted(present)], picture.shape[:2])
        picture = np.concatenate([picture, strip])
    return picture


def _shrunk(
    image: np.ndarray, panoptic_seg: np.ndarray, max_size: int
) -> Tuple[np.ndarray, np.ndarray]:
    height, width = image.shape[:2]
    if not 0 < max_size < max(height, width):
        return image, panoptic_seg
    scale = max_size / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    ids = cv2.resize(panoptic_seg.astype(np.int32), size, interpolation=cv2.INTER_NEAREST)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), ids


def _tinted(image: np.ndarray, tables: SegmentTables, opacity: float) -> np.ndarray:
    """A copy of ``image`` with the segments' colours over it."""
    rgba = np.pad(tables.colors, ((0, 0), (0, 1))).view(np.uint32)[:, 0]  # one look-up, not three
    pixels = rgba[tables.rows].view(np.uint8).reshape(*tables.rows.shape, 4)
    colors = cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB)
    tinted = cv2.addWeighted(image, 1 - opacity, colors, opacity, 0)
    cv2.copyTo(image, (tables.rows == 0).view(np.uint8), tinted)
    return tinted


def _draw_borders(picture: np.ndarray, tables: SegmentTables) -> None:
    """White on both sides where a thing ends; a shine on one side between two kinds of stuff."""
    thing = tables.is_thing[tables.rows]
    stuff = (tables.rows > 0) & ~thing
    ends = np.zeros(thing.shape, dtype=bool)
    shine = np.zeros_like(ends)
    for first, second in _NEIGHBOURS:
        differ = tables.rows[first] != tables.rows[second]
        ends[first] |= differ
        ends[second] |= differ
        shine[first] |= differ & stuff[first] & stuff[second]
    picture[ends & thing] = _BORDER
    picture[shine] = picture[shine] // 2 + 64
