"""COCO instance annotations, with semantic PNGs for the stuff where there are any.

Also what tools export under that name: Roboflow, CVAT, Label Studio, VIA and others.
"""

import os
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np

from .canvas import SegmentCanvas
from .classes import ClassList
from .coco_categories import (
    Category,
    complete_entries,
    declared_labels,
    flag,
    id_key,
    pixel_label,
    read_categories,
)
from .drawing import SMALL_ON_TOP, ShapeReader
from .files import ForeignFileError, SourceError, files_below, read_lists, read_pixels
from .geometry import short
from .image_index import ImageIndex, common_folder, find_in
from .rasterize import CORNERS
from .source import AnnotatedImage, Export, Item, Shape, Size
from .splits import split_word

_LISTS = ("images", "annotations", "categories")
_PREFERRED = "instances"  # of several JSONs of one split


class CocoImage(NamedTuple):
    """What is drawn of one image.

    Attributes:
        file: for messages.
        semantic: the PNG of its stuff, or "".
        size: height and width as stated.
        annotations: the label and the entry of each.
    """

    file: str
    semantic: str
    size: Tuple[Any, Any]
    annotations: List[Tuple[str, Dict[str, Any]]]


def find(annotations: str, images: str = "", *, semantic: str = "") -> Export:
    """
    Args:
        annotations: a JSON file, or the folder of an export with one for each split.
        images: the folder of the images; "": that of the export.
        semantic: a folder with a PNG of pixel values, named after the image, for every image. Where
            no object lies, it says what is there.

    Raises:
        SourceError: a file is missing or does not fit the others.
    """
    is_folder = os.path.isdir(annotations)
    contents = _contents_of_folder(annotations) if is_folder else _content_of_file(annotations)
    splits: Dict[str, List[Item]] = {}
    categories: List[Category] = []
    for split, (path, content) in contents.items():
        own = content["annotations"]
        counts = Counter(id_key(a.get("category_id"), _id_of(a, "category_id", path)) for a in own)
        listed = read_categories(content["categories"], counts, path)
        indexes = [ImageIndex(f) for f in _image_folders(path, annotations, images)]
        splits[split] = _items(path, content, {c.key: c.name for c in listed}, indexes, semantic)
        categories += listed
    _refuse_boxes_alone(contents)
    declared, unused = declared_labels(categories)
    parts = [f"{split or 'annotations'}: {path}" for split, (path, _) in contents.items()]
    found = [item.image for part in splits.values() for item in part]
    folder = annotations if is_folder else os.path.dirname(annotations) or "."
    return Export(
        images=images or common_folder(found, folder),
        splits=splits,
        draw=draw,
        overlap=READER.overlap,
        count_labels=lambda: list(declared.values()),
        complete=partial(complete_entries, declared, bool(semantic)),
        remarks=tuple(parts) if is_folder else (),
        unused=unused,
    )


Contents = Dict[str, Tuple[str, Dict[str, Any]]]  # split -> path and content of its JSON


def _content_of_file(path: str) -> Contents:
    return {"": (path, read_lists(path, *_LISTS))}


def _contents_of_folder(folder: str) -> Contents:
    """Of several files of one split the one that is called instances..."""
    by_split: Dict[str, List[Path]] = defaultdict(list)
    contents = {}
    files = files_below(folder, "*.json")
    for path in files:
        try:
            content = read_lists(str(path), *_LISTS)
        except ForeignFileError:
            if len(files) == 1:
                raise
            continue
        if not any("segments_info" in annotation for annotation in content["annotations"]):
            contents[path] = content
            by_split[split_word(str(path.relative_to(folder)))].append(path)
    if not contents:
        raise ForeignFileError(f"--annotations '{folder}' holds no JSON file of COCO instances")
    found: Contents = {}
    for split, paths in by_split.items():
        preferred = [path for path in paths if path.name.startswith(_PREFERRED)] or paths
        if len(preferred) > 1 or (split == "" and len(by_split) > 1):
            names = ", ".join(str(path.relative_to(folder)) for path in contents)
            raise SourceError(
                f"--annotations '{folder}' holds {names}; name one file, or keep one for each split"
            )
        found[split] = (str(preferred[0]), contents[preferred[0]])
    return found


def _refuse_boxes_alone(contents: Contents) -> None:
    every = [a for _, content in contents.values() for a in content["annotations"]]
    if any(a.get("bbox") for a in every) and not any(a.get("segmentation") for a in every):
        raise SourceError(
            f"{', '.join(path for path, _ in contents.values())}: none of the {len(every)} annotations has a "
            "mask; boxes alone cannot teach segmentation: export polygons or masks"
        )


def _image_folders(path: str, annotations: str, images: str) -> List[str]:
    """Where the images of a JSON file may lie, the likely folder first."""
    folder = Path(path).parent
    relative = folder.relative_to(annotations) if os.path.isdir(annotations) else Path()
    if images:
        return [f for f in (os.path.join(images, relative), images) if os.path.isdir(f)] or [images]
    above = [str(folder.parent)] if folder.name == "annotations" else []
    return [str(folder), *([annotations] if relative.parts else []), *above]


def _id_of(annotation: Dict[str, Any], key: str, path: str) -> str:
    return f"{path}: the {key} of annotation {short(annotation.get('id'))}"


def _items(
    path: str,
    content: Dict[str, Any],
    names: Mapping[str, str],
    indexes: Sequence[ImageIndex],
    semantic: str,
) -> List[Item]:
    """The images of a JSON file with their annotations."""
    of_image: Dict[str, List[Tuple[str, Dict[str, Any]]]] = defaultdict(list)
    for annotation in content["annotations"]:
        category = id_key(annotation.get("category_id"), _id_of(annotation, "category_id", path))
        if category not in names:
            raise SourceError(
                f"{path}: annotation {annotation.get('id')} has category_id {category}, which "
                "'categories' does not list"
            )
        image_id = id_key(annotation.get("image_id"), _id_of(annotation, "image_id", path))
        of_image[image_id].append((names[category], annotation))
    files = _files_of_images(content["images"], path)
    lost = [image_id for image_id in of_image if image_id not in files]
    if lost:
        raise SourceError(
            f"{path}: annotations have image_id {lost[0]}, which 'images' does not list"
        )
    items = []
    found = _find_images([name for name, _ in files.values()], indexes, path)
    for (image_id, (name, entry)), image in zip(files.items(), found):
        png = _semantic_png(semantic, name) if semantic else ""
        size = (entry.get("height"), entry.get("width"))
        task = CocoImage(f"{name} of {path}", png, size, of_image[image_id])
        items.append(Item(image, (image, png) if png else (image,), task))
    return items


def _files_of_images(
    images: List[Dict[str, Any]], path: str
) -> Dict[str, Tuple[str, Dict[str, Any]]]:
    """File name and entry of each image by its id."""
    files: Dict[str, Tuple[str, Dict[str, Any]]] = {}
    for image in images:
        name = image.get("file_name")
        if "id" not in image or not isinstance(name, str) or not name:
            raise SourceError(f"{path}: image {short(image)} has no id or no file_name")
        key = id_key(image["id"], f"{path}: the id of image {name}")
        if key in files:
            raise SourceError(f"{path}: images {files[key][0]} and {name} have the id {key}")
        files[key] = (name, image)
    return files


def _find_images(names: List[str], indexes: Sequence[ImageIndex], path: str) -> List[str]:
    """Raises SourceError with the first that is not found, and how many there are."""
    found, errors = [], []
    for name in names:
        try:
            found.append(find_in(indexes, name, path))
        except SourceError as error:
            errors.append(error)
    if errors:
        more = f" (one of {len(errors)} such images)" if len(errors) > 1 else ""
        raise SourceError(f"{errors[0]}{more}") from errors[0]
    return found


def _semantic_png(folder: str, file_name: str) -> str:
    path = os.path.join(folder, os.path.splitext(file_name.replace("\\", "/"))[0] + ".png")
    if not os.path.isfile(path):
        raise SourceError(f"--semantic lacks {path}, the labels of {file_name}")
    return path


def draw(annotation: CocoImage, classes: ClassList, canvas: SegmentCanvas) -> None:
    """Stuff of the PNG below the annotations; see ``Source.draw``."""
    if annotation.semantic:
        _draw_semantic(annotation.semantic, classes, canvas)
    READER.draw(annotation, classes, canvas)


def _draw_semantic(path: str, classes: ClassList, canvas: SegmentCanvas) -> None:
    _, values = read_pixels(path, canvas)
    if values.ndim != 2:
        raise SourceError(f"{path} has {values.shape[-1]} channels; a semantic PNG has one")
    segment_of = {}
    for value in np.unique(values).tolist():
        category = classes.find(pixel_label(value))
        if category is None:
            canvas.notes[f"semantic value {value}, which no class names: void"] += 1
        else:
            segment_of[value] = canvas.segment(category)
    canvas.label_map(values, segment_of)


def read(annotation: CocoImage, size: Size) -> AnnotatedImage:
    """See ``ShapeReader.read``."""
    seen: Dict[str, Dict[str, Any]] = {}
    shapes = []
    for label, one in annotation.annotations:
        double = "id" in one and seen.setdefault(str(one["id"]), one) is not one
        shape = _shape(label, one)
        if double and seen[str(one["id"])] == one:
            shape = shape._replace(left_out="listed twice")
        shapes.append(shape)
    return AnnotatedImage(annotation.file, annotation.size, shapes)


def _shape(label: str, one: Dict[str, Any]) -> Shape:
    segmentation = one.get("segmentation")
    return Shape(
        f"annotation {one.get('id')}",
        label,
        "segmentation",
        segmentation,
        crowd=bool(flag(one.get("iscrowd"))),
        left_out="" if segmentation or not one.get("bbox") else "with a box alone, without a mask",
    )


READER = ShapeReader(read, SMALL_ON_TOP, CORNERS)
