"""The ``segmentation`` of COCO annotations."""

from typing import Any

_MIN_COORDINATES = 6  # of a polygon: x and y of three points


def with_area(segmentation: Any) -> Any:
    """Polygons or run lengths, without the polygons of less than three points.

    pycocotools takes those for boxes, or refuses them.
    """
    if not isinstance(segmentation, list):
        return segmentation
    return [polygon for polygon in segmentation if len(polygon) >= _MIN_COORDINATES]
