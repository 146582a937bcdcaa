"""The formats that can be imported, by the name that the command line has for them. Imports nothing.

To add one: a module with ``find(annotations, images) -> Export`` (see :mod:`~.source`), whose ``draw`` is
that of a :class:`~.drawing.ShapeReader` or one of its own; its name here; how files of it are known in
:mod:`~.recognition`.
"""

from typing import Dict

FORMATS: Dict[str, str] = {
    "coco-instances": "coco_instances",
    "labelme": "labelme",
    "cityscapes-polygons": "cityscapes_polygons",
    "yolo-seg": "yolo_seg",
    "cvat": "cvat",
    "mask-pairs": "mask_pairs",
}
