"""What a plan needs to know of a data set: sizes, objects, regions, and how often classes occur.

N images, C classes, T of them things; M objects of an image, S regions of stuff.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from effps_solo.data.conversion import map_in_processes
from effps_solo.data.geometry import boxes_from_id_map, mass_centers
from effps_solo.data.mapper import read_dense_segments
from effps_solo.structures.label_space import PanopticLabelSpace

MAX_IMAGES = 1000  # whose pixels are read, evenly spread; percentiles of more are the same

Record = Dict[str, Any]


class ImageFacts(NamedTuple):
    """What the pixels of one annotation say; all lengths in pixels of the image.

    Attributes:
        size: (height, width).
        boxes: (M, 4) float32 XYXY of the things that are no crowd, ends exclusive.
        centers: (M, 2) float32 x, y of the mass centres.
        areas: (M,) int64.
        classes: (M,) int64 thing index.
        num_touching: objects with a border to another one of their class.
        class_pixels: (C,) int64, crowds included.
        stuff_areas: (S,) fractions of the image.
    """

    size: Tuple[int, int]
    boxes: np.ndarray
    centers: np.ndarray
    areas: np.ndarray
    classes: np.ndarray
    num_touching: int
    class_pixels: np.ndarray
    stuff_areas: np.ndarray

    @property
    def sides(self) -> np.ndarray:
        """(M,) sqrt(width * height) of the boxes, by which SOLOv2 chooses levels."""
        return np.sqrt(np.prod(self.boxes[:, 2:] - self.boxes[:, :2], axis=1))


@dataclass(frozen=True)
class Fingerprint:
    """The training images of a data set.

    Attributes:
        names: of the C classes by contiguous id.
        label_space: of the data set.
        images: those whose pixels were read.
        num_objects: (N,) things that are no crowd.
        num_images_of_class: (C,) images of N that show the class.
    """

    names: Sequence[str]
    label_space: PanopticLabelSpace
    images: Sequence[ImageFacts]
    num_objects: np.ndarray
    num_images_of_class: np.ndarray

    @property
    def num_images(self) -> int:
        """N."""
        return len(self.num_objects)

    @property
    def sizes(self) -> np.ndarray:
        """Height and width of every measured image."""
        return np.array([image.size for image in self.images])

    @property
    def sides(self) -> np.ndarray:
        """Of the objects of all measured images."""
        return np.concatenate([np.zeros(0), *(image.sides for image in self.images)])

    @property
    def class_share(self) -> np.ndarray:
        """(C,) of the pixels; what is missing to 1 is void."""
        pixels = sum(image.size[0] * image.size[1] for image in self.images)
        return np.asarray(sum(image.class_pixels for image in self.images)) / pixels

    @property
    def touching_share(self) -> float:
        """Of the objects; 0 without any."""
        return sum(image.num_touching for image in self.images) / max(1, len(self.sides))


def take_fingerprint(
    records: Sequence[Record],
    names: Sequence[str],
    label_space: PanopticLabelSpace,
    *,
    num_workers: int = 1,
    show_progress: bool = False,
) -> Fingerprint:
    """Of at least one dataset dict with ``pan_seg_file_name`` and ``segments_info``.

    Raises:
        AnnotationError, ImageError: an annotation cannot be used; the message names the file.
    """
    chosen = np.linspace(0, len(records) - 1, min(len(records), MAX_IMAGES)).astype(int)
    facts = map_in_processes(
        partial(measure_image, label_space),
        [records[i] for i in chosen],
        num_workers=num_workers,
        title="measure",
        show_progress=show_progress,
    )
    counts = [_objects_and_classes(record, label_space) for record in records]
    return Fingerprint(
        names=list(names),
        label_space=label_space,
        images=list(facts),
        num_objects=np.array([count for count, _ in counts]),
        num_images_of_class=np.sum([classes for _, classes in counts], axis=0),
    )


def measure_image(label_space: PanopticLabelSpace, record: Record) -> ImageFacts:
    """Read the panoptic PNG of one dataset dict."""
    segments = read_dense_segments(record["pan_seg_file_name"], record["segments_info"])
    classes = np.array([s["category_id"] if s else label_space.num_classes for s in segments.info])
    things = [
        s is not None and label_space.is_thing(s["category_id"]) and not s.get("iscrowd")
        for s in segments.info
    ]
    areas = np.bincount(segments.ids.reshape(-1), minlength=len(classes))
    shown = areas > 0
    is_object = np.array(things) & shown
    number = np.where(is_object, is_object.cumsum(), 0)  # 1 .. M
    objects = number[segments.ids]
    index = [label_space.thing_index(c) for c in classes[is_object]]
    is_stuff = np.isin(classes, label_space.stuff_ids) & shown
    centers, object_areas = mass_centers(objects, len(index))
    return ImageFacts(
        size=(segments.ids.shape[0], segments.ids.shape[1]),
        boxes=boxes_from_id_map(objects, len(index)),
        centers=centers,
        areas=object_areas,
        classes=np.array(index, dtype=np.int64),
        num_touching=count_touching(objects, np.array([-1, *index])),
        class_pixels=np.bincount(classes, areas, label_space.num_classes + 1)[:-1].astype(np.int64),
        stuff_areas=areas[is_stuff] / segments.ids.size,
    )


def count_touching(objects: np.ndarray, classes: np.ndarray) -> int:
    """How many objects have a pixel beside, above or below one of another object of their class.

    Args:
        objects: (H, W) 1 .. M, 0 is none.
        classes: (M + 1,) of each number.
    """
    touching: List[np.ndarray] = []
    for first, second in ((objects[:, :-1], objects[:, 1:]), (objects[:-1], objects[1:])):
        border = (first != second) & (first > 0) & (second > 0)
        pairs = np.stack([first[border], second[border]])
        touching.append(pairs[:, classes[pairs[0]] == classes[pairs[1]]].reshape(-1))
    return len(np.unique(np.concatenate(touching)))


def _objects_and_classes(record: Record, label_space: PanopticLabelSpace) -> Tuple[int, np.ndarray]:
    """The objects of a dataset dict, and (C,) whether it shows each class."""
    shows = np.zeros(label_space.num_classes, dtype=np.int64)
    num_objects = 0
    for segment in record["segments_info"]:
        shows[segment["category_id"]] = 1
        num_objects += label_space.is_thing(segment["category_id"]) and not segment.get("iscrowd")
    return num_objects, shows
