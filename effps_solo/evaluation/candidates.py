"""The counts of every candidate for the thresholds of the fusion, from one pass of the network.

Image by image the network runs once and the fusion for every candidate that can make a difference;
only counts stay in memory.
"""

import json
import os
from typing import Any, Dict, Iterable, List, Sequence, Tuple

import numpy as np

from effps_solo.modeling.outputs import FusionThresholds, PanopticNetwork, Unfused
from effps_solo.structures.classes import PanopticClass
from effps_solo.structures.panoptic_png import read_segment_ids

from .build import panoptic_metadata
from .matching import ImageSegments, match_segments
from .thresholds import NUM_PARTS, ThresholdGrid
from .verdicts import count_array

Info = List[Dict[str, Any]]


class CandidateCounts:
    """Sums of counts over images.

    Attributes:
        counts: of :func:`.thresholds.tune`; image i belongs to part i modulo ``NUM_PARTS``.
        num_images: so far.
    """

    def __init__(self, grid: ThresholdGrid, classes: Sequence[PanopticClass]) -> None:
        self.grid, self.classes = grid, classes
        self.counts: np.ndarray = np.zeros((NUM_PARTS, *grid.shape, len(classes), 4))
        self.num_images = 0

    def add(self, unfused: Unfused, true_ids: np.ndarray, true_info: Info) -> None:
        """
        Args:
            unfused: what the heads say of an image.
            true_ids, true_info: see :func:`.matching.match_segments`.
        """
        scores, overlaps, _ = (axis.values for axis in self.grid.axes)
        of_part = self.counts[self.num_images % NUM_PARTS]
        self.num_images += 1
        of_number: Dict[int, np.ndarray] = {}  # of instances, which says which they are
        for into, score in zip(of_part, scores):
            number = int((unfused.scores >= score).sum())
            if number not in of_number:
                maps = [self._fused(unfused, score, overlap) for overlap in overlaps]
                of_number[number] = self._count_maps(maps, true_ids, true_info)
            into += of_number[number]

    def _fused(self, unfused: Unfused, score: float, overlap: float) -> Tuple[np.ndarray, Info]:
        """The map with all the stuff, in the ids of the data set."""
        panoptic_seg, segments = unfused.fuse(FusionThresholds(score, overlap, stuff_area=0.0))
        info = [
            {"id": s["id"], "category_id": self.classes[s["category_id"]].dataset_id}
            for s in segments
        ]
        return panoptic_seg.cpu().numpy(), info

    def _count_maps(
        self, maps: Sequence[Tuple[np.ndarray, Info]], true_ids: np.ndarray, true_info: Info
    ) -> np.ndarray:
        """(O, A, C, 4). Neighbours are mostly the same."""
        counts: List[np.ndarray] = []
        for number, (ids, info) in enumerate(maps):
            before = maps[number - 1]
            if number and info == before[1] and np.array_equal(ids, before[0]):
                counts.append(counts[-1])
            else:
                segments = match_segments(true_ids, true_info, ids, info)
                counts.append(self._count_stuff_areas(segments, ids.size))
        return np.stack(counts)

    def _count_stuff_areas(self, segments: ImageSegments, num_pixels: int) -> np.ndarray:
        """(A, C, 4): stuff that is too small becomes void, which changes no other segment."""
        stuff = {c.dataset_id for c in self.classes if not c.isthing}
        counts: List[np.ndarray] = []
        for fraction in self.grid.axes[2].values:
            # As exact as the fusion compares.
            smallest = np.float32(max(1.0, fraction * num_pixels))
            kept = tuple(
                s
                for s in segments.predictions
                if s.category_id not in stuff or np.float32(s.area) >= smallest
            )
            if not counts or len(kept) < len(segments.predictions):
                ids = {s.id for s in kept}
                pairs = tuple(pair for pair in segments.pairs if pair.prediction in ids)
                segments = ImageSegments(segments.truth, kept, pairs)
                counts.append(count_array([segments], self.classes)[0])
            else:
                counts.append(counts[-1])
        return np.stack(counts)


def count_candidates(
    model: PanopticNetwork,
    batches: Iterable[List[Dict[str, Any]]],
    data_set: str,
    into: CandidateCounts,
) -> None:
    """Add the images of a data set.

    Args:
        batches: Detectron2's dicts with "image_id", as the test loader gives them.
        data_set: its registered name.

    Raises:
        ConfigError: it has no panoptic ground truth.
    """
    metadata = panoptic_metadata(data_set)
    with open(metadata.panoptic_json, encoding="utf-8-sig") as file:
        truth = {a["image_id"]: a for a in json.load(file)["annotations"]}
    lowest = min(into.grid.axes[0].values)
    for batch in batches:
        for x, unfused in zip(batch, model.unfused(batch, min_score=lowest)):
            annotation = truth[x["image_id"]]
            true_ids = read_segment_ids(
                os.path.join(metadata.panoptic_root, annotation["file_name"])
            )
            into.add(unfused, true_ids, annotation["segments_info"])
