"""The bound of a plan: the PQ of a perfect network under it, and what it loses where."""

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Sequence

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from tqdm import tqdm

from effps_solo.evaluation.matching import ImageSegments, match_segments
from effps_solo.evaluation.oracle import OracleMapper, OracleModel
from effps_solo.report.statistics import count_classes, groups_of
from effps_solo.structures.classes import classes_from_metadata
from effps_solo.structures.panoptic_png import read_segment_ids

NUM_IMAGES = 50  # enough for a tenth of a point

Record = Dict[str, Any]


@dataclass(frozen=True)
class Bound:
    """PQ in percent, nan without a segment, of a perfect network.

    Attributes:
        pq, pq_things, pq_stuff: with the whole plan.
        pq_without_grids: if every object had a cell.
        pq_without_stuff_limit: if also regions of stuff of any size counted; what is left to 100 is lost by
            masks and labels at stride 4.
    """

    pq: float
    pq_things: float
    pq_stuff: float
    pq_without_grids: float
    pq_without_stuff_limit: float

    def __str__(self) -> str:
        groups = [("things", self.pq_things), ("stuff", self.pq_stuff)]
        told = ", ".join(f"{value:.1f} in {name}" for name, value in groups if value == value)
        grids = max(0.0, self.pq_without_grids - self.pq)
        limit = max(0.0, self.pq_without_stuff_limit - self.pq_without_grids)
        stride = max(0.0, 100 - self.pq_without_stuff_limit)
        return (
            f"A perfect network of this config reaches PQ {self.pq:.1f} ({told}) on training images. "
            f"It loses {grids:.1f} by objects without a cell of their own, {limit:.1f} by the smallest "
            f"regions of stuff, {stride:.1f} by masks and labels at a quarter of the resolution."
        )


def bound(cfg: CfgNode, records: Sequence[Record], show_progress: bool = False) -> Bound:
    """Of a loaded config, on dataset dicts evenly spread over ``records``.

    Args:
        records: of ``DATASETS.TRAIN``, at least one.
    """
    chosen = np.linspace(0, len(records) - 1, min(len(records), NUM_IMAGES)).astype(int)
    mapper, (whole, no_grids, no_limit) = OracleMapper(cfg, True), _models(cfg)
    judged: List[List[ImageSegments]] = [[], [], []]
    for i in tqdm(chosen, desc="bound", unit="image", disable=not show_progress):
        record = records[i]
        mapped, true_ids = mapper(record), read_segment_ids(record["pan_seg_file_name"])
        areas = dict(zip(*np.unique(true_ids, return_counts=True)))
        truth = [
            {**s, "area": int(areas[s["id"]]), "iscrowd": s.get("iscrowd", 0)}
            for s in record["segments_info"]
            if s["id"] in areas
        ]
        for images, model in zip(judged, (whole, no_grids, no_limit)):
            ids, info = model([mapped])[0]["panoptic_seg"]
            images.append(match_segments(true_ids, truth, ids.numpy(), info))
    # Segments have contiguous ids here.
    found = classes_from_metadata(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]))
    classes = [replace(each, dataset_id=i) for i, each in enumerate(found)]
    groups = [groups_of(count_classes(images, classes), classes) for images in judged]
    every, things, stuff = (scores["pq"] for scores in groups[0])
    return Bound(every, things, stuff, groups[1][0]["pq"], groups[2][0]["pq"])


def _models(cfg: CfgNode) -> List[OracleModel]:
    """With all limits, without grids, and without that of the regions of stuff, too."""
    unlimited = cfg.clone()
    unlimited.defrost()
    unlimited.MODEL.PANOPTIC_FUSION.STUFF_AREA_FRACTION = 0.0
    models = [OracleModel(cfg), OracleModel(cfg), OracleModel(unlimited)]
    for model in models[1:]:
        model.grid = None
    return models
