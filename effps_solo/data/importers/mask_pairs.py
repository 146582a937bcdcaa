"""Pairs of masks: one of classes, one of objects. H x W pixels.

The tree of Pascal VOC, which CVAT writes as "Segmentation mask": SegmentationClass, SegmentationObject,
labelmap.txt and lists of names in ImageSets/Segmentation; or the folders "semantic" and "instance", whose
values are labels and numbers of objects. Without a mask of objects each connected region of a thing is one.
"""

import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np

from effps_solo.structures.segment_measures import measure_segments

from .canvas import SegmentCanvas
from .classes import ClassList, Entries, Label
from .drawing import FILE_ORDER, ShapeReader
from .files import ForeignFileError, SizeError, SourceError, image_size, walk
from .image_index import ImageIndex, common_folder, find_in
from .label_map import (
    LOSSY,
    NAME,
    VOID,
    VOID_OBJECTS,
    LabelMap,
    mask_size,
    read_label_map,
    read_mask,
)
from .rasterize import CORNERS
from .source import AnnotatedImage, Export, Item, Shape, Size
from .splits import SPLIT_WORDS, by_folder

_VOC, _VOC_OBJECTS = "SegmentationClass", "SegmentationObject"
_SEMANTIC, _INSTANCE = "semantic", "instance"  # words in the names of folders
_IMAGE_FOLDERS = ("JPEGImages", "images")
_LISTS = "ImageSets/Segmentation"
_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
_LOSSY_SUFFIXES = (".jpg", ".jpeg", ".webp")
OVERLAP = "a pixel of a mask has one label: nothing overlaps"


class MaskPair(NamedTuple):
    """What is drawn of one image: paths of its masks, and what their values mean; objects "": none."""

    semantic: str
    objects: str
    labels: LabelMap


def find(annotations: str, images: str = "") -> Export:
    """
    Args:
        annotations: the folder of the export.
        images: the folder of the images; "": JPEGImages or images beside the masks.

    Raises:
        SourceError: a file is missing, or does not fit the others.
    """
    splits: Dict[str, List[Item]] = {}
    remarks: List[str] = []
    for folder in _folders(annotations):
        items = _items(folder, images)
        listed, lost = _listed(folder.parent / _LISTS, items)
        remarks += lost
        relative = os.path.relpath(folder, annotations)
        own = listed or by_folder({os.path.join(relative, name): i for name, i in items.items()})
        for split, part in own.items():
            splits.setdefault(split, []).extend(part)
    if not any(splits.values()):
        raise ForeignFileError(
            f"--annotations '{annotations}' holds no masks in {_VOC} or {_SEMANTIC}"
        )
    found = [item for part in splits.values() for item in part]
    alone = sum(not item.annotation.objects for item in found)
    if alone:
        remarks.append(
            f"{alone} masks of classes have none of objects: each connected region of a thing is an object"
        )
    return Export(
        images=images or common_folder([item.image for item in found], annotations),
        splits=splits,
        draw=draw,
        overlap=OVERLAP,
        count_labels=lambda: count_labels(found),
        complete=complete,
        remarks=tuple(remarks),
    )


def _folders(annotations: str) -> List[Path]:
    """The folders of masks of classes."""
    root = Path(os.path.abspath(annotations))
    parents = {p for path in walk(str(root)) for p in path.parents if p.is_relative_to(root)}
    return sorted(p for p in parents if p.name == _VOC or p.name.lower().startswith(_SEMANTIC))


def objects_folder(name: str) -> str:
    """The folder of masks of objects that belongs to one of classes, by their names."""
    if name == _VOC:
        return _VOC_OBJECTS
    start, rest = name[: len(_SEMANTIC)], name[len(_SEMANTIC) :]
    return (_INSTANCE.capitalize() if start[0].isupper() else _INSTANCE) + rest


def _items(folder: Path, images: str) -> Dict[str, Item]:
    """The masks of a folder by their paths in it without suffix."""
    files = [Path(path) for path in walk(str(folder))]
    lossy = [path for path in files if path.suffix.lower() in _LOSSY_SUFFIXES]
    if lossy:
        raise SourceError(f"{lossy[0]} is a photograph's file, {LOSSY}")
    indexes = _indexes(folder.parent, images)
    labels = read_label_map(folder.parent / NAME)
    objects = folder.with_name(objects_folder(folder.name))
    items = {}
    for path in files:
        if path.suffix.lower() in _SUFFIXES:
            relative = path.relative_to(folder)
            own = next(
                (p for s in _SUFFIXES if (p := objects / relative.with_suffix(s)).is_file()), None
            )
            image = find_in(indexes, str(relative), str(path))
            sources = (str(path), *([str(own)] if own else []))
            items[relative.with_suffix("").as_posix()] = Item(
                image, sources, MaskPair(str(path), str(own or ""), labels)
            )
    return items


def _indexes(folder: Path, images: str) -> List[ImageIndex]:
    folders = [os.path.join(images or folder, name) for name in _IMAGE_FOLDERS]
    known = [ImageIndex(path) for path in folders if os.path.isdir(path)]
    if not known and not images:
        raise SourceError(f"{folder} has no folder {' or '.join(_IMAGE_FOLDERS)}; add --images")
    return known or [ImageIndex(images)]


def _listed(folder: Path, items: Dict[str, Item]) -> Tuple[Dict[str, List[Item]], List[str]]:
    """The splits of lists of names, and remarks about what is missing on either side."""
    splits: Dict[str, List[Item]] = {}
    remarks = []
    files = {path.stem: path for path in sorted(folder.glob("*.txt"))}
    if {"train", "val"} & set(files):
        files.pop("trainval", None)
    known = set()
    for stem, path in files.items():
        try:
            names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except (OSError, ValueError) as error:
            raise SourceError(f"{path} cannot be read as text: {error}") from error
        names = list(dict.fromkeys(name for name in names if name))
        known.update(names)
        lost = [name for name in names if name not in items]
        if lost:
            remarks.append(f"names in {path} without a mask: {len(lost)}, e.g. {lost[0]}")
        split = "" if stem in ("default", "trainval") else SPLIT_WORDS.get(stem.lower(), stem)
        splits[split] = splits.get(split, []) + [items[name] for name in names if name in items]
    others = [name for name in items if name not in known]
    if files and others:
        remarks.append(f"masks in no list of {folder}: {len(others)}, e.g. {others[0]}")
    return {split: part for split, part in splits.items() if part}, remarks


def count_labels(items: Sequence[Item]) -> List[Label]:
    """The labels of labelmap.txt and those that occur, and in how many masks each.

    Raises:
        SourceError: a mask cannot be read, or has another size than its image.
    """
    counts: Counter = Counter()
    maps = {name: i.annotation.labels for i in items for name in i.annotation.labels.names}
    named = list(maps)
    for item in items:
        pair: MaskPair = item.annotation
        own, size = mask_size(pair.semantic), image_size(item.image)
        if own != size:
            raise SizeError(f"{pair.semantic} has the size (height, width) {own}, its image {size}")
        values, mode = read_mask(pair.semantic, pair.labels)
        for value in np.unique(values).tolist():
            label = pair.labels.label(value, mode)
            if label is not None and (pair.labels.names or value not in VOID[mode]):
                counts[label] += 1
                maps[label] = pair.labels
    numbers = sorted(counts.keys() - {*named}, key=lambda label: (len(label), label))
    return [maps[name].declared(name, counts[name]) for name in (*named, *numbers)]


def complete(entries: Entries, file: str) -> Entries:
    """See ``Export.complete``: a class without labels has its id, too, as value."""
    return [
        {**entry, "labels": [entry["name"], entry["id"]]}
        if "labels" not in entry and "id" in entry and not entry["name"].isdigit()
        else entry
        for entry in entries
    ]


def draw(annotation: MaskPair, classes: ClassList, canvas: SegmentCanvas) -> None:
    """See ``Source.draw``: each label of an image, and each object of a label, is an annotation."""
    ShapeReader(partial(_read, classes), FILE_ORDER, CORNERS).draw(annotation, classes, canvas)


def _read(classes: ClassList, pair: MaskPair, size: Size) -> AnnotatedImage:
    for path in filter(None, (pair.semantic, pair.objects)):
        if mask_size(path) != size:
            return AnnotatedImage(path, mask_size(path), [])
    values, mode = read_mask(pair.semantic, pair.labels)
    objects = _read_objects(pair.objects) if pair.objects else None
    shapes: List[Shape] = []
    unnamed = np.zeros(size, dtype=bool)
    for value in np.unique(values).tolist():
        label, pixels = pair.labels.label(value, mode), values == value
        category = classes.find(label)
        if category is None and value in VOID[mode]:
            continue
        if label is None:
            unnamed |= pixels
        elif category is None or not category["isthing"]:
            shapes += _shapes(label, pixels, lambda _: {})
        elif objects is None:
            _, regions = cv2.connectedComponents(pixels.astype(np.uint8), connectivity=8)
            shapes += _shapes(label, regions, lambda _: {})
        else:
            shapes += _shapes(label, np.where(pixels, objects, 0), partial(_object, label))
    shapes += _shapes(None, unnamed, lambda _: {"left_out": f"of colours that {NAME} lacks: void"})
    return AnnotatedImage(pair.semantic, size, shapes)


_NO_OBJECT, _VOID_OBJECT = 1, 2  # the first objects


def _read_objects(path: str) -> np.ndarray:
    """(H, W) int32 numbers from 1 on: _NO_OBJECT, _VOID_OBJECT, or higher ones."""
    values, mode = read_mask(path)
    return np.where(
        values == 0,
        _NO_OBJECT,
        np.where(np.isin(values, VOID_OBJECTS[mode]), _VOID_OBJECT, values + 2),
    )


def _object(label: str, number: int) -> Dict[str, Any]:
    if number == _VOID_OBJECT:
        return {"left_out": "of a thing, where the objects are void"}
    if number == _NO_OBJECT:
        return {"crowd": True}
    return {"object_key": f"object {number} of {label}"}


def _shapes(
    label: Optional[str], ids: np.ndarray, fields_of: Callable[[int], Dict[str, Any]]
) -> Iterator[Shape]:
    """A shape for each value but 0 of an (H, W) map; ``fields_of`` a value are fields of its shape."""
    found = measure_segments(ids)
    for number, (x, y, width, height) in zip(found.ids.tolist(), found.boxes.tolist()):
        mask = ids[y : y + height, x : x + width] == number
        yield Shape(f"label {label}", label, "mask", (mask, (x, y)), **fields_of(number))
