"""The one way from shapes to segments, for all readers of shapes."""

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from .canvas import SegmentCanvas
from .classes import ClassList
from .files import SourceError, require_size
from .geometry import FaultyShapeError, NoAreaError
from .rasterize import Mask, rasterize
from .source import AnnotatedImage, Shape, Size


class Placed(NamedTuple):
    """A shape with an area, before it is drawn; ``category`` None: void."""

    position: int
    shape: Shape
    mask: Mask
    category: Optional[Mapping[str, Any]]
    crowd: bool

    @property
    def is_thing(self) -> bool:
        """Void lies with the stuff."""
        return self.category is not None and bool(self.category["isthing"])


SMALL_ON_TOP = "things lie over stuff, and small shapes over large ones"
LATER_ON_TOP = "things lie over stuff, and later shapes over earlier ones"
Z_ORDER = (
    "shapes of a higher z_order lie over those of a lower one; of one z_order, things over stuff and later "
    "shapes over earlier ones"
)
FILE_ORDER = "later shapes lie over earlier ones, as in the file"

# What is drawn first comes first.
_ORDERS: Dict[str, Callable[[Placed], Tuple[int, ...]]] = {
    SMALL_ON_TOP: lambda p: (p.is_thing, not p.crowd, -p.mask.area, p.position),
    LATER_ON_TOP: lambda p: (p.is_thing, p.position),
    Z_ORDER: lambda p: (p.shape.layer, p.is_thing, p.position),
    FILE_ORDER: lambda p: (p.position,),
}


@dataclass(frozen=True)
class ShapeReader:
    """How a format's shapes are read and laid over each other; can be pickled.

    Attributes:
        read: (annotation of an item, size of its image) -> its shapes; a function of a module, raises
            SourceError.
        overlap: SMALL_ON_TOP, LATER_ON_TOP, Z_ORDER or FILE_ORDER.
        convention: CORNERS or CENTERS of :mod:`~.rasterize`.
    """

    read: Callable[[Any, Size], AnnotatedImage]
    overlap: str
    convention: str

    def draw(self, annotation: Any, classes: ClassList, canvas: SegmentCanvas) -> None:
        """See ``Source.draw``: each shape is drawn, or counted with the reason why not.

        Raises:
            SourceError: the annotation is made for another size, or a shape of it cannot be meant.
        """
        content = self.read(annotation, canvas.size)
        require_size(canvas, *content.size, content.file)
        canvas.counts.num_annotations += len(content.shapes)
        placed: List[Placed] = []
        for position, shape in enumerate(content.shapes):
            try:
                placed.append(self._place(position, shape, classes, canvas))
            except NoAreaError as reason:
                canvas.counts.left_out[str(reason)] += 1
            except FaultyShapeError as error:
                raise SourceError(f"{content.file}: {shape.name}: {error}") from error
        for one in sorted(placed, key=_ORDERS[self.overlap]):
            canvas.mask(one.mask.pixels(), _segment(one, canvas), one.mask.corner)

    def _place(
        self, position: int, shape: Shape, classes: ClassList, canvas: SegmentCanvas
    ) -> Placed:
        if shape.left_out:
            raise NoAreaError(shape.left_out)
        mask = rasterize(shape.kind, shape.data, canvas.size, self.convention)
        category, crowd = classes.find(shape.label), shape.crowd
        if category is None and shape.crowd_of is not None:
            base = classes.find(shape.crowd_of)
            if base is not None and base["isthing"]:
                category, crowd = base, True
        return Placed(position, shape, mask, category, crowd and not canvas.crowds_as_objects)


def _segment(one: Placed, canvas: SegmentCanvas) -> int:
    if one.category is None:
        canvas.counts.left_out[
            f"with the label '{one.shape.label}', which no class names: void"
        ] += 1
        return 0
    key = ("shape", one.position) if one.shape.object_key is None else one.shape.object_key
    return canvas.segment(one.category, instance=key, crowd=one.crowd)
