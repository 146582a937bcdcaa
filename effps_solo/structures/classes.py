"""The classes of a model, as its users see them. Standard library and the label space alone."""

import colorsys
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from .label_space import PanopticLabelSpace

IGNORE_LABEL = 255  # the contiguous id of void
_GOLDEN_RATIO = 0.618034


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

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PanopticClass":
        """From ``dataclasses.asdict`` of a class, through JSON too. KeyError, TypeError: it is not."""
        return cls(**{**values, "color": tuple(values["color"])})


def classes_from_metadata(metadata: Any) -> Tuple[PanopticClass, ...]:
    """The classes of a panoptic data set by contiguous id, from Detectron2's metadata.

    Those without a colour get one that is easily told apart.
    """
    space = PanopticLabelSpace.from_metadata(metadata)
    palette = distinct_colors(space.num_classes)
    classes = []
    for c in range(space.num_classes):
        kind = "thing" if space.is_thing(c) else "stuff"
        own = getattr(metadata, f"{kind}_colors", palette)
        color = own[c] if c < len(own) else palette[c]
        classes.append(
            PanopticClass(
                name=getattr(metadata, f"{kind}_classes")[c],
                isthing=space.is_thing(c),
                dataset_id=space.dataset_id(c),
                color=(int(color[0]), int(color[1]), int(color[2])),
            )
        )
    return tuple(classes)


def metadata_of_classes(classes: Sequence[PanopticClass]) -> Dict[str, Any]:
    """Detectron2's metadata of a data set of ``classes``, in the order of their contiguous ids.

    ``thing_classes`` and ``stuff_classes`` both list all of them, because the visualizer indexes either
    by the contiguous id. :func:`classes_from_metadata` gives the classes back.
    """
    ids: Dict[bool, Dict[int, int]] = {True: {}, False: {}}
    for contiguous, one in enumerate(classes):
        ids[one.isthing][one.dataset_id] = contiguous
    lists = {
        "classes": [one.name for one in classes],
        "colors": [list(one.color) for one in classes],
    }
    metadata: Dict[str, Any] = {"ignore_label": max(IGNORE_LABEL, len(classes))}
    for kind, isthing in (("thing", True), ("stuff", False)):
        metadata.update({f"{kind}_{name}": values for name, values in lists.items()})
        metadata[f"{kind}_dataset_id_to_contiguous_id"] = ids[isthing]
    return metadata


def class_keys(classes: Sequence[PanopticClass]) -> List[Tuple[str, bool]]:
    """What classes are known by, in their order: the name, and whether it is a thing."""
    return [(one.name, one.isthing) for one in classes]


def list_of_classes(classes: Sequence[PanopticClass]) -> str:
    """Their names for messages: "things car, person; stuff road"."""
    parts = []
    for kind, isthing in (("things", True), ("stuff", False)):
        names = [one.name for one in classes if one.isthing == isthing]
        parts += [f"{kind} {', '.join(names)}"] if names else []
    return "; ".join(parts)


def is_color(value: Any) -> bool:
    """Whether a category of a JSON may have it as its color: three whole numbers 0 .. 255; or None."""
    if value is None:
        return True
    return (
        isinstance(value, (list, tuple))
        and len(value) == 3
        and all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= 255 for v in value)
    )


def distinct_colors(count: int) -> List[List[int]]:
    """``count`` different [r, g, b] colours, 0 .. 255, always the same; neighbours differ in hue."""
    colors = []
    for i in range(count):
        # Hues repeat nearly after some Fibonacci number of steps: vary the rest with other periods.
        saturation, value = (0.85, 0.6, 0.4)[i % 3], (1.0, 0.75, 0.5, 0.9)[i % 4]
        color = colorsys.hsv_to_rgb((i * _GOLDEN_RATIO) % 1.0, saturation, value)
        colors.append([round(255 * channel) for channel in color])
    return colors
