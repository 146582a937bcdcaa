"""The annotations that an importer found, before they are drawn."""

from dataclasses import dataclass
from typing import Any, Callable, List, Tuple

from .canvas import SegmentCanvas
from .classes import ClassList


@dataclass(frozen=True)
class Item:
    """One annotated image.

    Attributes:
        image: its path.
        sources: the files that hold its annotation.
        annotation: what ``Source.draw`` needs; can be pickled.
    """

    image: str
    sources: Tuple[str, ...]
    annotation: Any


@dataclass(frozen=True)
class Source:
    """All annotations that an importer found.

    Attributes:
        images: the folder below which all images lie.
        draw: (annotation of an item, classes, canvas of the image's size), a function of a module;
            raises SourceError.
    """

    images: str
    items: List[Item]
    classes: ClassList
    draw: Callable[[Any, ClassList, SegmentCanvas], None]
