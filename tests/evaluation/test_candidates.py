"""The counts of all candidates against the real fusion and evaluation, one candidate after the other."""

import itertools
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Type

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, Instances
from panopticapi.evaluation import pq_compute_single_core

from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.evaluation.candidates import CandidateCounts, count_candidates
from effps_solo.evaluation.quality import mean_pq, pq_by_class
from effps_solo.evaluation.thresholds import Axis, ThresholdGrid
from effps_solo.inference.predictor import Predictor
from effps_solo.modeling.detections import boxes_from_masks
from effps_solo.modeling.fusion import AdaptiveFusion, HeuristicFusion, PanopticFusion
from effps_solo.modeling.instance_head import Stride4Masks
from effps_solo.modeling.outputs import FusionThresholds, Unfused
from effps_solo.modeling.precision import Precision
from effps_solo.structures.classes import PanopticClass, classes_from_metadata
from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.structures.panoptic_png import encode_segment_ids
from tests.modeling.test_panoptic_fpn import KEYS as PANOPTIC_FPN

ROAD, SKY, PERSON, CAR, WALL = 7, 23, 24, 26, 12
CLASSES = (
    PanopticClass("road", False, ROAD, (128, 64, 128)),
    PanopticClass("sky", False, SKY, (70, 130, 180)),
    PanopticClass("person", True, PERSON, (220, 20, 60)),
    PanopticClass("car", True, CAR, (0, 0, 142)),
    PanopticClass("wall", False, WALL, (102, 102, 156)),
)
SPACE = PanopticLabelSpace({PERSON: 2, CAR: 3}, {ROAD: 0, SKY: 1, WALL: 4})
GRID = ThresholdGrid(
    (
        Axis("score", (0.1, 0.3, 0.5, 0.52, 0.7)),
        Axis("overlap", (0.2, 0.5, 0.8)),
        Axis("stuff_area", (0.0, 0.001, 0.03, 0.3)),
    ),
    (2, 1, 0),
)
SIZE = (64, 96)
# Rows and columns, class and score of what an instance head may say, best first: several overlap.
FOUND = (
    ((24, 52), (4, 40), 3, 0.9),
    ((20, 56), (56, 88), 3, 0.6),
    ((24, 52), (12, 44), 2, 0.55),
    ((4, 12), (4, 24), 2, 0.4),
    ((28, 56), (52, 80), 3, 0.35),
    ((26, 50), (8, 40), 3, 0.2),
)


def heads_of(fusion_type: Type[PanopticFusion], num_instances: int) -> Unfused:
    """A sky with a piece of wall in it, a road, noise, and instances."""
    noise = torch.Generator().manual_seed(0)
    logits = torch.randn(5, 16, 24, generator=noise) * 0.5
    logits[1, :7] += 4
    logits[0, 7:] += 4
    logits[4, 2:4, 20:] += 6
    for rows, columns, c, _ in FOUND[:num_instances]:
        logits[c, rows[0] // 4 : rows[1] // 4, columns[0] // 4 : columns[1] // 4] += 5
    masks = torch.full((num_instances, 16, 24), -6.0)
    for mask, (rows, columns, *_) in zip(masks, FOUND):
        mask[rows[0] // 4 : rows[1] // 4, columns[0] // 4 : columns[1] // 4] = 6
    instances = Instances(SIZE)
    instances.scores = torch.tensor([score for *_, score in FOUND[:num_instances]])
    things = [c - 2 for *_, c, _ in FOUND[:num_instances]]
    instances.thing_index = torch.tensor(things, dtype=torch.int64)
    instances.pred_boxes = Boxes(boxes_from_masks(masks > 0) * 4)
    instances.mask_source = Stride4Masks(masks)
    fusion = fusion_type(label_space=SPACE)
    return Unfused(instances.scores, partial(fusion, logits, instances, SIZE))


@pytest.fixture
def truth(tmp_path: Path) -> Any:
    """(ids, segments_info), written as a panoptic PNG, too: with void and a crowd of cars."""
    ids = np.full(SIZE, 1)
    ids[28:], ids[24:52, 4:40], ids[20:56, 56:88], ids[56:, 60:], ids[:4] = 2, 3, 4, 5, 0
    info = [
        {"id": k, "category_id": c, "iscrowd": int(k == 5), "area": int((ids == k).sum())}
        for k, c in {1: SKY, 2: ROAD, 3: CAR, 4: CAR, 5: CAR}.items()
    ]
    (tmp_path / "truth.png").write_bytes(encode_segment_ids(ids))
    return ids, info


@pytest.mark.parametrize("fusion_type", [AdaptiveFusion, HeuristicFusion])
@pytest.mark.parametrize("num_instances", [len(FOUND), 0])
def test_counts_are_those_of_panopticapi_at_every_candidate(
    fusion_type: Type[PanopticFusion], num_instances: int, truth: Any, tmp_path: Path
) -> None:
    heads = heads_of(fusion_type, num_instances)
    found = CandidateCounts(GRID, CLASSES)
    found.add(heads, *truth)
    assert found.num_images == 1 and not found.counts[1:].any()
    annotation = {"image_id": 1, "file_name": "truth.png", "segments_info": truth[1]}
    categories = {c.dataset_id: {"isthing": int(c.isthing)} for c in CLASSES}
    different = set()
    for index in itertools.product(*map(range, GRID.shape)):
        ids, segments = heads.fuse(GRID.at(index))
        (tmp_path / "found.png").write_bytes(encode_segment_ids(ids.numpy()))
        info = [
            {"id": s["id"], "category_id": CLASSES[s["category_id"]].dataset_id} for s in segments
        ]
        prediction = {"image_id": 1, "file_name": "found.png", "segments_info": info}
        stat = pq_compute_single_core(
            0, [(annotation, prediction)], str(tmp_path), str(tmp_path), categories
        )
        expected = [[getattr(stat[c], k) for k in ("tp", "fp", "fn", "iou")] for c in categories]
        np.testing.assert_allclose(found.counts[0][index], expected, rtol=0, atol=1e-12)
        different.add(str(expected))
    assert len(different) >= (8 if num_instances else 2)


HEADS: Dict[str, List[str]] = {
    "adaptive": [],
    "heuristic": ["MODEL.PANOPTIC_FUSION.NAME", "HeuristicFusion"],
    "mask r-cnn": [
        *("MODEL.INSTANCE_HEAD.NAME", "MaskRCNNInstanceHead"),
        *("MODEL.ROI_MASK_HEAD.CONV_DIM", "32", "MODEL.ROI_BOX_HEAD.FC_DIM", "64"),
        *("MODEL.ANCHOR_GENERATOR.SIZES", "[[16], [32], [64], [128]]"),
    ],
    "panoptic fpn": PANOPTIC_FPN,
    "views": ["TEST.AUG.ENABLED", "True", "TEST.AUG.SCALES", "(1.0,)"],
    "low precision": ["TEST.AMP.ENABLED", "True"],
}


@pytest.mark.parametrize("heads", HEADS)
def test_pq_is_that_of_an_evaluation(
    heads: str, tiny_config: Path, lively_weights: Path, tmp_path: Path, fresh_loggers: None
) -> None:
    words = [*HEADS[heads], "MODEL.OUTPUTS", "['panoptic_seg']"]
    cfg = load_config(str(tiny_config), words)
    weights = lively_weights
    if heads in ("mask r-cnn", "panoptic fpn"):
        torch.manual_seed(0)
        weights = tmp_path / "random.pth"
        torch.save({"model": Trainer.build_model(cfg).state_dict()}, weights)
    cfg.MODEL.WEIGHTS = str(weights)
    grid = ThresholdGrid(
        (
            Axis("score", (0.1, 0.3, 0.5)),
            Axis("overlap", (0.3, 0.7)),
            Axis("stuff_area", (0.0, 0.05)),
        ),
        (0, 0, 0),
    )
    model = Predictor(cfg).model
    loader = Trainer.build_test_loader(cfg, "tiny_val")
    found = CandidateCounts(grid, classes_of(cfg))
    with torch.inference_mode(), Precision.from_config(cfg, "TEST").autocast():
        count_candidates(model, loader, "tiny_val", found)
    assert found.num_images == 2
    total = found.counts.sum(axis=0)
    assert total[..., :2].any()
    node = cfg.MODEL.PANOPTIC_FUSION
    for index in ((0, 0, 0), (1, 1, 1), (2, 0, 1)):
        chosen = grid.at(index)
        node.SCORE_THRESH, node.OVERLAP_THRESH = chosen.score, chosen.overlap
        node.STUFF_AREA_FRACTION = chosen.stuff_area
        expected = Trainer.test(cfg, Predictor(cfg).model)["panoptic_seg"]
        by_class = pq_by_class(total[index])
        assert float(mean_pq(by_class)) == pytest.approx(expected["PQ"], abs=1e-9, nan_ok=True)
        for c, pq in zip(classes_of(cfg), by_class):
            assert pq == pytest.approx(expected[f"PQ-{c.name}"], abs=1e-9, nan_ok=True)


def classes_of(cfg: Any) -> Any:
    return classes_from_metadata(MetadataCatalog.get(cfg.DATASETS.TEST[0]))


def test_images_take_turns_in_the_parts(truth: Any) -> None:
    heads, found = heads_of(HeuristicFusion, 2), CandidateCounts(GRID, CLASSES)
    for _ in range(11):
        found.add(heads, *truth)
    sums = found.counts.sum(axis=(1, 2, 3, 4, 5))
    assert sums[0] == pytest.approx(2 * sums[1]) and np.ptp(sums[1:]) < 1e-9


def test_an_image_without_objects() -> None:
    found = CandidateCounts(GRID, CLASSES)
    heads = heads_of(AdaptiveFusion, 0)
    found.add(heads, np.zeros(SIZE, dtype=np.int64), [])
    ids, _ = heads.fuse(FusionThresholds(0.5, 0.5, 0.0))
    assert ids.any()
    assert not found.counts.any()  # what lies over void is no mistake
