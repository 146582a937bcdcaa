"""YOLO's polygons: a line "class x y x y ..." for every object, in parts of the image's width and height.

The text file of an image has its name, in the folder "labels" beside the folder "images" or beside the image
itself. data.yaml lists the names of the classes and the folders, or lists, of images of each split. A line
may hold several polygons, joined by points that come twice: the way there and back has no area.
"""

import os
from collections import Counter
from typing import Iterator, List, NamedTuple, Sequence, Set, Tuple

from .classes import Label
from .drawing import SMALL_ON_TOP, ShapeReader
from .files import ForeignFileError, SourceError
from .geometry import short
from .image_index import common_folder
from .rasterize import CORNERS
from .source import AnnotatedImage, Export, Item, Shape, Size
from .splits import by_folder
from .yolo_tree import (
    LabelFiles,
    Names,
    class_names,
    find_config,
    images_below,
    listed_images,
    text_lines,
)

_BOX = 4  # numbers
# In parts of a side; what lies farther outside is in pixels, or damaged.
_MARGIN = 0.5


class YoloImage(NamedTuple):
    """What is drawn of one image.

    Attributes:
        file: of its lines; "": it has none, and no object.
    """

    file: str
    names: Names


def find(annotations: str, images: str = "") -> Export:
    """
    Args:
        annotations: the folder of the export, or its data.yaml.
        images: the folder of the images; "": where data.yaml says, or else that of the export.

    Raises:
        SourceError: a file is missing, or does not fit the others.
    """
    folder = annotations if os.path.isdir(annotations) else os.path.dirname(annotations) or "."
    config, content = find_config(annotations)
    if "kpt_shape" in content:
        raise SourceError(
            f"{config} has kpt_shape: its lines are boxes with keypoints, no polygons"
        )
    names = class_names(content, config, folder)
    listed, remarks = listed_images(content, config, images) if config else ({}, [])
    files = LabelFiles(folder)
    splits = {
        split: [_item(image, files, names) for image in paths]
        for split, paths in (listed or {"": images_below(images or folder)}).items()
    }
    items = [item for part in splits.values() for item in part]
    if not any(item.sources for item in items):
        raise ForeignFileError(
            f"--annotations '{annotations}': no image has a text file of its name; check --images"
        )
    if not listed:
        splits = by_folder({_path(item, images or folder, folder): item for item in items})
    counts: Counter = Counter()
    num_empty = 0
    for item in items:
        lines = list(_read_lines(item.annotation))
        num_empty += not lines
        counts.update(line.label for line in lines if line.is_polygon)
    return Export(
        images=images or common_folder([item.image for item in items], folder),
        splits=splits,
        draw=READER.draw,
        overlap=READER.overlap,
        count_labels=lambda: _labels(counts, names or (), annotations),
        remarks=(*remarks, *_remarks(items, num_empty, files)),
    )


def _item(image: str, files: LabelFiles, names: Names) -> Item:
    file = files.of(image)
    return Item(image, (file,) if file else (), YoloImage(file, names))


def _path(item: Item, images: str, folder: str) -> str:
    """With all folders that may name its split."""
    text = [os.path.relpath(file, folder) for file in item.sources]
    return os.path.join(os.path.relpath(item.image, images), *text)


def _remarks(items: List[Item], num_empty: int, files: LabelFiles) -> Iterator[str]:
    """Images without an object, and objects without an image."""
    if num_empty:
        yield f"images without an object, whose text file is missing or empty: {num_empty}"
    lost = Counter(
        {file: _num_objects(file) for file in files.others([i.annotation.file for i in items])}
    )
    if lost.total():
        yield f"annotations whose text file belongs to no image: {lost.total()}, e.g. in {max(+lost)}"


def _num_objects(file: str) -> int:
    """Lines of a text that may be another."""
    try:
        return sum(1 for _ in _read_lines(YoloImage(file, None)))
    except SourceError:
        return 0


def _labels(counts: Counter, names: Sequence[str], annotations: str) -> List[Label]:
    """Those of polygons, then the others. One that is alone is a thing: the lines are objects."""
    if not counts:
        raise SourceError(
            f"--annotations '{annotations}' has no polygon; boxes cannot teach segmentation"
        )
    isthing = 1 if len(counts) == 1 else None
    unused = [(name, 0) for name in names if name not in counts]
    return [Label(name, count, isthing) for name, count in [*counts.most_common(), *unused]]


class _Line(NamedTuple):
    name: str
    label: str
    numbers: List[float]

    @property
    def is_polygon(self) -> bool:
        return len(self.numbers) != _BOX


def _read_lines(annotation: YoloImage) -> Iterator[_Line]:
    """The objects of an image. Raises SourceError when a line has none."""
    for k, text in enumerate(text_lines(annotation.file) if annotation.file else [], 1):
        if not text:
            continue
        where = f"{annotation.file}: line {k}"
        try:
            first, *numbers = map(float, text.split())
        except ValueError as error:
            raise SourceError(f"{where}: {short(text)} are not all numbers") from error
        known = None if annotation.names is None else len(annotation.names)
        if not first.is_integer() or first < 0 or (known is not None and first >= known):
            what = (
                "is no number of a class" if known is None else f"is no class of 0 .. {known - 1}"
            )
            raise SourceError(f"{where}: {first:g} {what}")
        label = str(int(first)) if annotation.names is None else annotation.names[int(first)]
        yield _Line(f"line {k}", label, numbers)


def read(annotation: YoloImage, size: Size) -> AnnotatedImage:
    """See ``ShapeReader.read``."""
    height, width = size
    seen: Set[Tuple[str, Tuple[float, ...]]] = set()
    shapes = []
    for line in _read_lines(annotation):
        left_out = "" if line.is_polygon else "with a box alone, without a mask"
        far = [x for x in line.numbers if not -_MARGIN <= x <= 1 + _MARGIN and x == x]
        if far:
            raise SourceError(
                f"{annotation.file}: {line.name}: {far[0]:g} lies far outside of 0 .. 1; coordinates are "
                "parts of the image's width and height"
            )
        key = (line.label, tuple(line.numbers))
        left_out = "listed twice" if key in seen else left_out
        seen.add(key)
        points = [x * (height if k % 2 else width) for k, x in enumerate(line.numbers)]
        shapes.append(Shape(line.name, line.label, "polygon", points, left_out=left_out))
    return AnnotatedImage(annotation.file, (None, None), shapes)


READER = ShapeReader(read, SMALL_ON_TOP, CORNERS)
