"""The classes of a model, as its users see them. Standard library and the label space alone."""

from dataclasses import dataclass
from typing import Any, Tuple

from .label_space import PanopticLabelSpace


@dataclass(frozen=True)
class PanopticClass:
    """A class, in the order of contiguous ids.

    Attributes:
        name: in the words of the data set.
        isthing: whether its objects are told apart.
        dataset_id: its id in the files of the data set.
        color: RGB, 0 .. 255.
    """

    name: str
    isthing: bool
    dataset_id: int
    color: Tuple[int, int, int]


def classes_from_metadata(metadata: Any) -> Tuple[PanopticClass, ...]:
    """The classes of a data set by contiguous id.

    Args:
        metadata: Detectron2's, of a panoptic data set, with the names of things and stuff. Without
            colours the classes get colours that are easily told apart.
    """
    from .data.datasets.coco_panoptic import distinct_colors  # imports Detectron2

    space = PanopticLabelSpace.from_metadata(metadata)
    palette = distinct_colors(space.num_classes)
    classes = []
    for c in range(space.num_classes):
        kind = "thing" if space.is_thing(c) else "stuff"
        color = getattr(metadata, f"{kind}_colors", palette)[c]
        classes.append(
            PanopticClass(
                name=getattr(metadata, f"{kind}_classes")[c],
                isthing=space.is_thing(c),
                dataset_id=space.dataset_id(c),
                color=(int(color[0]), int(color[1]), int(color[2])),
            )
        )
    return tuple(classes)
