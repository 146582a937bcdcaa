"""Data sets in COCO panoptic layout: a JSON, a folder of panoptic PNGs, a folder of images.

Detectron2's loader of this layout takes every image for a .jpg and trusts the JSON; this one reads
the names of the images from the JSON and checks that files and entries belong together.
"""

import os
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Sequence, Set, Tuple

from effps_solo.structures.classes import (
    IGNORE_LABEL,
    PanopticClass,
    distinct_colors,
    is_color,
    metadata_of_classes,
)
from effps_solo.structures.label_space import PanopticLabelSpace

from .files import (
    DatasetError,
    examples,
    files_below,
    overlays_of,
    read_json_object,
    repeated,
    require_file,
    require_folder,
)

_KEYS = ("images", "annotations", "categories")
_MAX_SEGMENT_ID = 256**3 - 1
_NUMBER, _ID = (int, float), (int, str)
_TYPES: Dict[str, Any] = {"id": _ID, "image_id": _ID, "file_name": str, "name": str}
_TYPES.update(height=int, width=int, segments_info=list, category_id=int, iscrowd=int, area=_NUMBER)


@dataclass(frozen=True)
class CocoPanopticFiles:
    """The three paths of one split, the key that moves them, and what else is in its folder of PNGs.

    ``sharing`` are the panoptic JSONs of other splits with the same folder of PNGs.
    """

    images: str
    panoptic_png: str
    panoptic_json: str
    remedy: str
    sharing: Tuple[str, ...] = ()

    def check(self) -> None:
        """Raises DatasetError when one of them is missing."""
        require_file(self.panoptic_json, "panoptic JSON", self.remedy)
        require_folder(self.images, "image folder", self.remedy)
        require_folder(self.panoptic_png, "folder of panoptic PNGs", self.remedy)


def coco_panoptic_metadata(files: CocoPanopticFiles) -> Dict[str, Any]:
    """Metadata of a split in Detectron2's words.

    Contiguous ids count the things in the order of the JSON's categories, then the stuff.

    Returns:
        a dict for ``Metadata.set``. ``thing_classes`` and ``stuff_classes`` both list all C
        classes by contiguous id, because the visualizer indexes either by it.

    Raises:
        DatasetError: the JSON is missing or its categories cannot be used.
    """
    require_file(files.panoptic_json, "panoptic JSON", files.remedy)
    content = read_json_object(files.panoptic_json, _KEYS)
    categories = _checked_categories(content["categories"], files.panoptic_json)
    return panoptic_metadata(sorted(categories, key=lambda c: not c["isthing"]), files)


def panoptic_metadata(
    categories: Sequence[Mapping[str, Any]], files: CocoPanopticFiles
) -> Dict[str, Any]:
    """The same of classes that are known without any file.

    Args:
        categories: as a panoptic JSON has them, in the order of their contiguous ids.
    """
    palette = distinct_colors(len(categories))
    classes = [
        PanopticClass(
            name=category["name"],
            isthing=bool(category["isthing"]),
            dataset_id=category["id"],
            color=tuple(category.get("color") or color),
        )
        for category, color in zip(categories, palette)
    ]
    return {
        **metadata_of_classes(classes),
        "image_root": files.images,
        "panoptic_root": files.panoptic_png,
        "panoptic_json": files.panoptic_json,
        "label_divisor": 1000,
        "evaluator_type": "coco_panoptic_seg",
    }


def _checked_categories(categories: List[Dict[str, Any]], file: str) -> List[Dict[str, Any]]:
    if not categories:
        raise DatasetError(f"{file} lists no categories")
    for category in categories:
        _require(category, ("name", "isthing"), f"{file}: category {category}", {"name": str})
        numbers = category.get("id"), category["isthing"]
        if not all(isinstance(n, int) for n in numbers) or category["isthing"] not in (0, 1):
            raise DatasetError(
                f"{file}: category {category} needs an integer as its id, and 0 or 1 as isthing"
            )
        if not is_color(category.get("color")):
            raise DatasetError(
                f"{file}: category '{category['name']}' has the color {category['color']!r}; give three "
                "numbers 0 .. 255, or none"
            )
    if len(categories) > IGNORE_LABEL:
        raise DatasetError(f"{file} has {len(categories)} categories; at most {IGNORE_LABEL} fit")
    for key in ("id", "name"):
        if twice := repeated(category[key] for category in categories):
            raise DatasetError(f"{file}: several categories have the {key} {examples(twice)}")
    return categories


def load_coco_panoptic(
    files: CocoPanopticFiles, label_space: PanopticLabelSpace
) -> List[Dict[str, Any]]:
    """The dataset dicts of a split.

    Returns:
        a dict for every image in the order of the annotations: file_name, image_id, height,
        width, pan_seg_file_name, segments_info [{id, category_id (contiguous), isthing (bool),
        iscrowd, area, bbox (if the JSON has it)}].

    Raises:
        DatasetError: a file is missing, or JSON, PNGs and images do not belong together.
    """
    files.check()
    content = read_json_object(files.panoptic_json, _KEYS)
    images = _images_by_id(content["images"], files.panoptic_json)
    annotations = content["annotations"]
    _check_pairs(images, annotations, files.panoptic_json)
    _check_png_files(annotations, files)
    _check_image_files(images, files)
    return [_record(a, images[a["image_id"]], files, label_space) for a in annotations]


def _record(
    annotation: Dict[str, Any],
    image: Dict[str, Any],
    files: CocoPanopticFiles,
    label_space: PanopticLabelSpace,
) -> Dict[str, Any]:
    where = f"{files.panoptic_json}, annotation of {annotation['file_name']}"
    info = [_segment(segment, label_space, where) for segment in annotation["segments_info"]]
    if twice := repeated(segment["id"] for segment in info):
        raise DatasetError(f"{where}: several segments have the id {examples(twice)}")
    return {
        "file_name": os.path.join(files.images, image["file_name"]),
        "image_id": image["id"],
        "height": image["height"],
        "width": image["width"],
        "pan_seg_file_name": os.path.join(files.panoptic_png, annotation["file_name"]),
        "segments_info": info,
    }


def _segment(
    segment: Dict[str, Any], label_space: PanopticLabelSpace, where: str
) -> Dict[str, Any]:
    _require(segment, ("id", "category_id", "iscrowd", "area"), f"{where}: segment {segment}")
    if not (isinstance(segment["id"], int) and 0 < segment["id"] <= _MAX_SEGMENT_ID):
        raise DatasetError(f"{where}: segment id {segment['id']} is not in 1 .. {_MAX_SEGMENT_ID}")
    try:
        contiguous = label_space.contiguous_id(segment["category_id"])
    except KeyError as error:
        raise DatasetError(
            f"{where}: segment {segment['id']} has category_id {segment['category_id']}, which "
            "the list of categories does not hold"
        ) from error
    result = {"id": segment["id"], "category_id": contiguous}
    result["isthing"] = label_space.is_thing(contiguous)
    return result | {key: segment[key] for key in ("iscrowd", "area", "bbox") if key in segment}


def _images_by_id(images: List[Dict[str, Any]], file: str) -> Dict[Any, Dict[str, Any]]:
    for image in images:
        _require(image, ("id", "file_name", "height", "width"), f"{file}: image {image}")
    if twice := repeated(image["id"] for image in images):
        raise DatasetError(f"{file}: several images have the id {examples(twice)}")
    return {image["id"]: image for image in images}


def _check_pairs(
    images: Mapping[Any, Dict[str, Any]], annotations: List[Dict[str, Any]], file: str
) -> None:
    for annotation in annotations:
        name = annotation.get("file_name", annotation.get("image_id", "?"))
        keys = ("image_id", "file_name", "segments_info")
        _require(annotation, keys, f"{file}: the annotation of {name}")
    annotated = [annotation["image_id"] for annotation in annotations]
    if twice := repeated(annotated):
        raise DatasetError(f"{file}: image ids {examples(twice)} have several annotations")
    if lost := [a["file_name"] for a in annotations if a["image_id"] not in images]:
        raise DatasetError(
            f"{file}: the annotations of {examples(lost)} have an image_id that 'images' does not "
            "list; add the images or remove the annotations"
        )
    if bare := [images[key]["file_name"] for key in images.keys() - set(annotated)]:
        raise DatasetError(
            f"{file}: the images {examples(bare)} have no annotation; add them or remove the images"
        )


def _check_png_files(annotations: List[Dict[str, Any]], files: CocoPanopticFiles) -> None:
    named = _png_names(annotations)
    present = {name for name in files_below(files.panoptic_png) if name.lower().endswith(".png")}
    if named - present:
        raise DatasetError(
            f"{files.panoptic_png} lacks {examples(named - present)}, which "
            f"{files.panoptic_json} lists; restore the files or remove the annotations"
        )
    unlisted = present - named - overlays_of(named)
    for file in filter(os.path.isfile, files.sharing if unlisted else ()):
        unlisted -= _png_names(read_json_object(file, _KEYS)["annotations"])
    if unlisted:
        raise DatasetError(
            f"{files.panoptic_png} holds {examples(unlisted)}, which "
            f"{files.panoptic_json} does not list; add annotations or move the files away"
        )


def _png_names(annotations: List[Dict[str, Any]]) -> Set[str]:
    return {os.path.normpath(a["file_name"]) for a in annotations if "file_name" in a}


def _check_image_files(images: Mapping[Any, Dict[str, Any]], files: CocoPanopticFiles) -> None:
    present = files_below(files.images)
    names = {image["file_name"] for image in images.values()}
    if missing := [name for name in names if os.path.normpath(name) not in present]:
        raise DatasetError(
            f"{files.images} lacks the images {examples(missing)}, which {files.panoptic_json} "
            "lists; restore them or remove their entries"
        )


def _require(
    entry: Any, keys: Sequence[str], subject: str, types: Mapping[str, Any] = _TYPES
) -> None:
    """Raises DatasetError unless an entry of the JSON has these keys, with values of these types."""
    if not isinstance(entry, dict):
        raise DatasetError(f"{subject} is no object")
    if missing := [key for key in keys if key not in entry]:
        raise DatasetError(f"{subject} has no {examples(missing)}")
    for key in keys:
        if not isinstance(entry[key], types.get(key, object)):
            raise DatasetError(f"{subject} has the {key} {entry[key]!r}, which has the wrong type")
