"""What a data set holds: how often each class occurs and how large its things are."""

import math
from dataclasses import dataclass, field
from typing import Dict, List, Mapping, Sequence

from .entries import Category
from .images import ImageJob, ImageResult, measured_by_id


@dataclass
class ClassCount:
    """How often a class occurs; segments that only the JSON has count without pixels."""

    num_images: int = 0
    num_segments: int = 0
    num_crowds: int = 0
    num_pixels: int = 0


@dataclass
class Statistics:
    """Counts of a data set.

    Attributes:
        num_images: jobs; images that are annotated twice count twice.
        classes: category id -> count, for every category.
        object_sides: sqrt(width * height) of the box of every thing that is no crowd, in pixels.
        objects_per_image: their number in every image.
    """

    num_images: int = 0
    classes: Dict[int, ClassCount] = field(default_factory=dict)
    object_sides: List[float] = field(default_factory=list)
    objects_per_image: List[int] = field(default_factory=list)

    @property
    def num_segments(self) -> int:
        """Of all classes."""
        return sum(count.num_segments for count in self.classes.values())


def count_dataset(
    jobs: Sequence[ImageJob], results: Sequence[ImageResult], classes: Mapping[int, Category]
) -> Statistics:
    """The statistics of images and what was measured in their PNGs."""
    statistics = Statistics(len(jobs), {category_id: ClassCount() for category_id in classes})
    for job, result in zip(jobs, results):
        measured = measured_by_id(result.measures)
        seen, num_objects = set(), 0
        for segment in job.segments or []:
            if segment.category_id is None or segment.category_id not in classes:
                continue
            area, box = measured.get(segment.id, (0, [0] * 4))
            count = statistics.classes[segment.category_id]
            count.num_segments += 1
            count.num_crowds += segment.is_crowd
            count.num_pixels += area
            count.num_images += segment.category_id not in seen
            seen.add(segment.category_id)
            if area and classes[segment.category_id].is_thing and not segment.is_crowd:
                num_objects += 1
                statistics.object_sides.append(math.sqrt(box[2] * box[3]))
        statistics.objects_per_image.append(num_objects)
    return statistics
