"""What a reader hands over: the annotations of its format, not yet judged or drawn."""

from dataclasses import dataclass, field
from typing import Any, Callable, Hashable, List, Mapping, NamedTuple, Optional, Tuple

from .canvas import SegmentCanvas
from .classes import ClassList, Entries, Label

Size = Tuple[int, int]  # height, width


class Shape(NamedTuple):
    """One annotation of an image as the file has it; :func:`~.drawing.draw_shapes` judges it.

    Attributes:
        name: for messages, e.g. "annotation 17".
        label: what stands for its class; text and numbers are compared as text.
        kind: one of :data:`~.rasterize.KINDS`; another has no area, and is counted by its name.
        data: what that kind needs.
        object_key: shapes of one label and one key are one object; None: an object of its own.
        crowd: it shows several objects.
        crowd_of: the label of the things that it shows several of, if no class names its own label.
        left_out: why the format itself leaves it out; "": it does not.
        layer: for Z_ORDER of :mod:`~.drawing`.
    """

    name: str
    label: Any
    kind: str
    data: Any
    object_key: Optional[Hashable] = None
    crowd: bool = False
    crowd_of: Any = None
    left_out: str = ""
    layer: int = 0


class AnnotatedImage(NamedTuple):
    """The annotations of one image.

    Attributes:
        file: for messages.
        size: height and width as the file states them, of any type; see :func:`~.geometry.stated_size`.
        shapes: later ones lie over earlier ones, where their order decides.
    """

    file: str
    size: Tuple[Any, Any]
    shapes: List[Shape]


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


Draw = Callable[[Any, ClassList, SegmentCanvas], None]


@dataclass(frozen=True)
class Source:
    """Annotations with the classes that they are drawn with.

    Attributes:
        images: the folder below which all images lie.
        draw: (annotation of an item, classes, canvas of the image's size), can be pickled; raises
            SourceError.
        crowds_as_objects: every crowd becomes an object.
    """

    images: str
    items: List[Item]
    classes: ClassList
    draw: Draw
    crowds_as_objects: bool = False


def _as_they_are(entries: Entries, file: str) -> Entries:
    return entries


@dataclass(frozen=True)
class Export:
    """All that a reader found, before the classes are known.

    Attributes:
        images: the folder below which all images lie.
        splits: the items by split; "" where the export has no splits.
        draw: see ``Source.draw``.
        overlap: what lies on top where shapes overlap, as a sentence for people.
        count_labels: lists the labels that occur or are declared; may read every file. Raises SourceError.
        complete: (entries of a class list, its file) -> entries with what the export knows of them.
        remarks: what was left out of account, one line each.
        unused: declared labels that no annotation has -> the same with the id, for people.
    """

    images: str
    splits: Mapping[str, List[Item]]
    draw: Draw
    overlap: str
    count_labels: Callable[[], List[Label]]
    complete: Callable[[Entries, str], Entries] = _as_they_are
    remarks: Tuple[str, ...] = ()
    unused: Mapping[str, str] = field(default_factory=dict)
