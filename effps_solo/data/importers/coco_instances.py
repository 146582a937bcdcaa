"""COCO instance annotations, with semantic PNGs for the stuff where there are any."""

import os
from collections import defaultdict
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import pycocotools.mask as mask_util

from effps_solo.data.segmentation import with_area

from .canvas import SegmentCanvas
from .classes import ClassList, read_entries
from .files import SourceError, read_lists, read_pixels, require_size
from .source import Item, Source


def coco_instances_source(
    annotations: str, images: str, *, classes: Optional[str] = None, semantic: Optional[str] = None
) -> Source:
    """
    Args:
        annotations: the JSON file; its categories are the things.
        images: the folder of its images.
        classes: a class list of the stuff, whose labels are pixel values (default: the id).
        semantic: a folder with a PNG of pixel values, named after the image, for every image. Where
            no object lies, it says what is there.

    Raises:
        SourceError: a file is missing or does not fit the others.
    """
    content = read_lists(annotations, "images", "annotations", "categories")
    if bool(semantic) != bool(classes):
        raise SourceError("--semantic and --classes go together: PNGs, and what their values mean")
    objects: Dict[Any, List[Dict[str, Any]]] = defaultdict(list)
    for annotation in content["annotations"]:
        objects[annotation.get("image_id")].append(annotation)
    items = []
    for image in content["images"]:
        if not {"id", "file_name"} <= set(image):
            raise SourceError(f"{annotations}: image {image} has no id or no file_name")
        labels = _semantic_png(semantic, image["file_name"]) if semantic else None
        path = os.path.join(images, image["file_name"])
        size = (image.get("height"), image.get("width"))
        file = f"{image['file_name']} of {annotations}"
        annotation = (file, labels, size, objects.pop(image["id"], []))
        items.append(Item(path, (path, *([labels] if labels else [])), annotation))
    if objects:
        raise SourceError(
            f"{annotations}: annotations have image_id {list(objects)[0]}, which 'images' does not list"
        )
    return Source(images, items, _class_list(content["categories"], annotations, classes), draw)


def draw(
    annotation: Tuple[str, Optional[str], Tuple[Any, Any], List[Dict[str, Any]]],
    classes: ClassList,
    canvas: SegmentCanvas,
) -> None:
    """Stuff, then crowds, then objects, small ones over large ones; see ``Source.draw``."""
    file, semantic, size, objects = annotation
    require_size(canvas, *size, file)
    if semantic:
        _draw_semantic(semantic, classes, canvas)
    masks = []
    for k, one in enumerate(objects):
        category = classes.find(_thing(one.get("category_id")))
        if category is None:
            raise SourceError(
                f"{file}: annotation {one.get('id')} has category_id {one.get('category_id')}, which "
                "'categories' does not list"
            )
        rle = _rle(one, canvas, file)
        area = int(mask_util.area(rle)) if rle else 0
        if area == 0:
            canvas.notes["annotations without a mask"] += 1
            continue
        masks.append((bool(one.get("iscrowd", 0)), area, k, category, rle))
    for crowd, _, k, category, rle in sorted(masks, key=lambda m: (not m[0], -m[1], m[2])):
        mask = mask_util.decode(rle)
        canvas.mask(mask, canvas.segment(category, instance=k, crowd=crowd))


def _draw_semantic(path: str, classes: ClassList, canvas: SegmentCanvas) -> None:
    _, values = read_pixels(path, canvas)
    if values.ndim != 2:
        raise SourceError(f"{path} has {values.shape[-1]} channels; a semantic PNG has one")
    segment_of = {}
    for value in np.unique(values).tolist():
        category = classes.find(value)
        if category is None:
            canvas.notes[f"semantic value {value}, which no class names: void"] += 1
        else:
            segment_of[value] = canvas.segment(category)
    canvas.label_map(values, segment_of)


def _rle(one: Dict[str, Any], canvas: SegmentCanvas, file: str) -> Optional[Dict[str, Any]]:
    """The RLE of an annotation with polygons or an RLE; None if it has neither."""
    segmentation, size = with_area(one.get("segmentation")), list(canvas.size)
    if not segmentation:
        return None
    try:
        rle: Dict[str, Any] = segmentation
        if isinstance(segmentation, list):
            rle = mask_util.merge(mask_util.frPyObjects(segmentation, *size))
        elif isinstance(segmentation["counts"], list):
            rle = mask_util.frPyObjects(segmentation, *size)
        if list(rle["size"]) != size:
            raise ValueError(f"its RLE is made for {rle['size']}, its image is {size}")
        mask_util.area(rle)
    except Exception as error:  # pycocotools raises many types
        raise SourceError(
            f"{file}: the segmentation of annotation {one.get('id')} cannot be read ({error!r})"
        ) from error
    return rle


def _thing(category_id: Any) -> str:
    """The label of a category of the JSON; no pixel value is a text."""
    return f"category {category_id}"


def _class_list(categories: List[Dict[str, Any]], file: str, classes: Optional[str]) -> ClassList:
    entries = []
    for category in categories:
        if not isinstance(category.get("id"), int) or not isinstance(category.get("name"), str):
            raise SourceError(f"{file}: category {category} needs an integer id and a name")
        entry = {"id": category["id"], "name": category["name"], "isthing": 1}
        entries.append({**entry, "labels": [_thing(category["id"])]})
    for stuff in read_entries(classes) if classes else []:
        if stuff["isthing"]:
            raise SourceError(
                f"{classes}: {stuff['name']} is a thing; list stuff only, things come from {file}"
            )
        if "labels" not in stuff and "id" not in stuff:
            raise SourceError(
                f"{classes}: {stuff['name']} has no id and no labels; name its values in the PNGs"
            )
        entries.append({"labels": [stuff.get("id")], **stuff})
    return ClassList(entries, classes or file)


def _semantic_png(folder: str, file_name: str) -> str:
    path = os.path.join(folder, os.path.splitext(file_name)[0] + ".png")
    if not os.path.isfile(path):
        raise SourceError(f"--semantic lacks {path}, the labels of {file_name}")
    return path
