"""Detectron2's PanopticFPN behind this project's label spaces."""

import math
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import PanopticFPN, build_model
from detectron2.modeling.meta_arch.panoptic_fpn import combine_semantic_and_instance_outputs
from detectron2.modeling.postprocessing import detector_postprocess, sem_seg_postprocess
from detectron2.structures import BitMasks, Boxes, Instances
from detectron2.utils.events import EventStorage

from effps_solo.config import load_config, read_config
from effps_solo.data.mapper import instances_from_objects
from effps_solo.evaluation import build_evaluator
from effps_solo.modeling.fusion import FusionThresholds
from effps_solo.modeling.panoptic_fpn import LabelSpacePanopticFPN, class_logits, semantic_labels
from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.utils.errors import ConfigError

CONFIG = Path(__file__).parents[2] / "configs" / "quickstart" / "panoptic_fpn_lite0.yaml"
SIZE = (64, 96)
STUFF, THINGS = range(11), range(11, 19)
# For the tiny set.
KEYS = [
    *("MODEL.META_ARCHITECTURE", "LabelSpacePanopticFPN"),
    *("MODEL.SEM_SEG_HEAD.NAME", "SemSegFPNHead", "MODEL.SEM_SEG_HEAD.NORM", "GN"),
    *("MODEL.ROI_MASK_HEAD.NAME", "MaskRCNNConvUpsampleHead", "MODEL.ROI_MASK_HEAD.NORM", ""),
    *("MODEL.ROI_MASK_HEAD.CONV_DIM", "32", "MODEL.ROI_BOX_HEAD.FC_DIM", "64"),
    *("MODEL.ANCHOR_GENERATOR.SIZES", "[[16], [32], [64], [128]]"),
]


@pytest.fixture(scope="module")
def model() -> LabelSpacePanopticFPN:
    """With the classes of Cityscapes: stuff 0 .. 10, things 11 .. 18."""
    torch.manual_seed(0)
    cfg = load_config(str(CONFIG), ["MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu"])
    return build_model(cfg)


def _sample(boxes: List[Tuple[int, int, int, int]]) -> Dict[str, Any]:
    instances = Instances(SIZE)
    masks = torch.zeros(len(boxes), *SIZE, dtype=torch.bool)
    sem_seg = torch.zeros(SIZE, dtype=torch.int64)
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        masks[k, y0:y1, x0:x1] = True
        sem_seg[y0:y1, x0:x1] = THINGS[k]
    sem_seg[-8:] = 255
    instances.gt_masks = BitMasks(masks)
    instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
    instances.gt_classes = torch.arange(len(boxes))
    instances.gt_areas = masks.flatten(1).sum(1)
    image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)
    return {"image": image, "sem_seg": sem_seg, "instances": instances}


def test_semantic_labels_by_hand() -> None:
    space = PanopticLabelSpace({7: 1, 8: 3}, {1: 0, 2: 2}, ignore_label=6)
    assert semantic_labels(space, 255).tolist() == [1, 0, 2, 0, 255, 255, 255]


def test_class_logits_by_hand() -> None:
    """Two pixels: an object of class 3 on the left, the stuff class 2 on the right."""
    space = PanopticLabelSpace({7: 1, 8: 3}, {1: 0, 2: 2})
    sem_seg = torch.tensor([[[5.0, 1.0]], [[2.0, 3.0]], [[0.0, 4.0]]])  # things, 0, 2
    segments = [{"id": 1, "category_id": 3}, {"id": 2, "category_id": 2}]
    logits = class_logits(sem_seg, torch.tensor([[1, 2]]), segments, space)
    low = -torch.inf
    assert logits[:, 0].T.tolist() == [[2.0, low, 0.0, 5.0], [3.0, low, 4.0, low]]


@pytest.mark.parametrize("boxes", [[(8, 8, 40, 40), (50, 4, 90, 50)], []])
def test_a_training_step_reaches_every_parameter(
    model: LabelSpacePanopticFPN, boxes: List[Tuple[int, int, int, int]]
) -> None:
    torch.manual_seed(0)
    model.train().zero_grad()
    with EventStorage():
        losses = model([_sample(boxes), _sample([])])
        total = sum(losses.values())
        total.backward()
    assert set(losses) >= {"loss_sem_seg", "loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls"}
    assert torch.isfinite(total)
    assert not [name for name, p in model.named_parameters() if p.grad is None]
    assert model.count_targets([]).shape == (0,)


def test_segments_are_those_of_detectron2(model: LabelSpacePanopticFPN) -> None:
    torch.manual_seed(1)
    model.eval()
    thresholds = FusionThresholds(score=0.0, overlap=0.5, stuff_area=0.0)
    model.roi_heads.box_predictor.test_score_thresh = 0.0
    x = {"image": _sample([])["image"], "height": 60, "width": 90}
    with torch.inference_mode():
        output = model.inference([x], thresholds=thresholds)[0]
        detections, sem_seg = model.inference([x], do_postprocess=False)
        sem_seg = sem_seg_postprocess(sem_seg[0], SIZE, 60, 90)
        expected, expected_segments = combine_semantic_and_instance_outputs(
            detector_postprocess(detections[0], 60, 90),
            sem_seg.argmax(dim=0),
            0.5,
            1,
            0.0,
        )
    panoptic_seg, segments = output["panoptic_seg"]
    assert torch.equal(panoptic_seg, expected)
    kinds = {s["id"]: (s["isthing"], s["category_id"]) for s in expected_segments}
    assert len(segments) > 3 and any(s["isthing"] for s in segments)
    for segment in segments:
        isthing, number = kinds[segment["id"]]
        ids = THINGS if isthing else [-1, *STUFF]
        assert (segment["isthing"], segment["category_id"]) == (isthing, ids[number])
        assert segment["area"] == int((panoptic_seg == segment["id"]).sum())
        assert 0 <= segment["score"] <= 1
    assert output["sem_seg"].shape == (19, 60, 90)
    assert set(output["instances"].pred_classes.tolist()) <= set(THINGS)


def test_outputs_of_a_call(model: LabelSpacePanopticFPN) -> None:
    """As of EfficientPS; the pictures of a training ask for the map alone."""
    x, everything = {"image": _sample([])["image"]}, model.outputs
    with torch.inference_mode():
        (result,) = model.eval().inference([x], outputs=["panoptic_seg"])
        assert set(result) == {"panoptic_seg"}
        assert set(model.inference([x])[0]) == set(model([x])[0]) == set(everything)


def test_no_detection(model: LabelSpacePanopticFPN) -> None:
    torch.manual_seed(1)
    model.eval()
    threshold = model.roi_heads.box_predictor.test_score_thresh
    model.roi_heads.box_predictor.test_score_thresh = 1.1
    with torch.inference_mode():
        output = model([{"image": _sample([])["image"]}])[0]
    model.roi_heads.box_predictor.test_score_thresh = threshold
    assert len(output["instances"]) == 0
    assert not any(s["isthing"] for s in output["panoptic_seg"][1])


def test_a_data_set_without_things() -> None:
    cfg = load_config(str(CONFIG), ["MODEL.WEIGHTS", ""])
    arguments = LabelSpacePanopticFPN.from_config(cfg)
    space = PanopticLabelSpace({}, {1: 0, 2: 1})
    with pytest.raises(ValueError, match="LabelSpacePanopticFPN, which needs things"):
        LabelSpacePanopticFPN(**{**arguments, "label_space": space})


def test_training_targets_by_hand(model: LabelSpacePanopticFPN) -> None:
    """The mapper's own ground truth: void, a stuff class, an object, a crowd without one."""
    sem_seg = torch.full(SIZE, 2)
    sem_seg[:16], sem_seg[20:40, 8:40], sem_seg[20:30, 80:96] = 255, 13, 11
    objects = torch.zeros(SIZE, dtype=torch.int32)
    objects[20:40, 8:40] = 1
    instances = instances_from_objects(objects.numpy(), [2])
    x = {"image": torch.zeros(3, *SIZE), "sem_seg": sem_seg, "instances": instances}
    translated = model._translated(x)
    expected = torch.full(SIZE, 3)
    expected[:16], expected[20:40, 8:40], expected[20:30, 80:96] = 255, 0, 0
    assert torch.equal(translated["sem_seg"], expected)
    assert translated["instances"].gt_classes.tolist() == [2]
    assert translated["instances"].gt_boxes.tensor.tolist() == [[8, 20, 40, 40]]
    assert int((sem_seg == 13).sum()) == 20 * 32  # the mapper's own stays


def test_a_step_of_void_alone(model: LabelSpacePanopticFPN) -> None:
    sample = _sample([])
    sample["sem_seg"][:] = 255
    model.train().zero_grad()
    with EventStorage():
        losses = model([sample])
        sum(losses.values()).backward()
    assert losses["loss_sem_seg"] == 0
    assert not any(p.grad.any() for p in model.sem_seg_head.parameters())
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())


def test_unclaimed_things_become_stuff_by_key(
    model: LabelSpacePanopticFPN, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The semantic head sees things everywhere, the box head none."""
    model.eval()
    monkeypatch.setattr(model, "thresholds", FusionThresholds(stuff_area=0.0))
    monkeypatch.setattr(model.roi_heads.box_predictor, "test_score_thresh", 1.1)
    bias = model.sem_seg_head.predictor.bias.detach().clone()
    bias[0] = 100.0
    monkeypatch.setattr(model.sem_seg_head.predictor, "bias", torch.nn.Parameter(bias))
    outputs = []
    for void_unclaimed in (True, False):
        monkeypatch.setattr(model, "void_unclaimed_things", void_unclaimed)
        with torch.inference_mode():
            outputs.append(model([{"image": _sample([])["image"]}])[0])
    (void, no_segments), (filled, segments) = (x["panoptic_seg"] for x in outputs)
    assert not no_segments and not void.any()
    assert segments and not any(s["isthing"] for s in segments) and bool((filled > 0).all())
    assert set(outputs[0]["sem_seg"].argmax(dim=0).unique().tolist()) <= set(STUFF)


def test_a_data_set_without_stuff(clean_catalogs: None) -> None:
    MetadataCatalog.get("things_alone").set(
        thing_dataset_id_to_contiguous_id={1: 0, 2: 1}, stuff_dataset_id_to_contiguous_id={}
    )
    cfg = load_config(str(CONFIG), ["MODEL.WEIGHTS", ""])
    cfg.DATASETS.TRAIN = ("things_alone",)
    model = build_model(cfg)
    sample = _sample([(8, 8, 40, 40)])
    sample["sem_seg"] = torch.full(SIZE, 255)
    sample["sem_seg"][8:40, 8:40] = 1
    with EventStorage():
        losses = model([sample])
        sum(losses.values()).backward()
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert not [name for name, p in model.named_parameters() if p.grad is None]
    output = model.eval()([{"image": sample["image"]}])[0]
    assert output["sem_seg"].shape == (2, *SIZE)
    assert all(s["isthing"] for s in output["panoptic_seg"][1])


def test_mistakes_in_the_config() -> None:
    cfg = load_config(str(CONFIG), ["MODEL.WEIGHTS", "", "MODEL.OUTPUTS", "['depth']"])
    with pytest.raises(ConfigError, match="MODEL.OUTPUTS names"):
        build_model(cfg)
    cfg.MODEL.SEM_SEG_HEAD.NAME = "EfficientPSSemanticHead"
    with pytest.raises(ConfigError, match="SEM_SEG_HEAD.NAME is 'EfficientPSSemanticHead'"):
        build_model(cfg)


@pytest.mark.parametrize(
    ("score", "overlap", "fraction", "things", "stuff_pixels"),
    [
        (0.5, 0.5, 0.0, [0.9], 64 * 96 - 16 * 16),  # the second one is covered by half and more
        (0.5, 0.8, 0.0, [0.9, 0.6], 64 * 96 - 16 * 16 - 4 * 16),
        (0.7, 0.8, 0.0, [0.9], 64 * 96 - 16 * 16),
        (0.95, 0.8, 0.0, [], 64 * 96),
        (0.95, 0.8, 1.0, [], 64 * 96),
        (0.7, 0.8, 0.96, [0.9], 0),  # 95.8 % are left
    ],
)
def test_thresholds_are_those_of_the_other_fusions(
    score: float,
    overlap: float,
    fraction: float,
    things: List[float],
    stuff_pixels: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two objects of 16 x 16 pixels, 4 columns apart, on one class of stuff."""
    words = ["MODEL.WEIGHTS", ""]
    for key, value in (
        ("SCORE_THRESH", score),
        ("OVERLAP_THRESH", overlap),
        ("STUFF_AREA_FRACTION", fraction),
    ):
        words += [f"MODEL.PANOPTIC_FUSION.{key}", str(value)]
    model = build_model(load_config(str(CONFIG), words)).eval()
    raw = Instances(SIZE)
    raw.pred_boxes = Boxes(torch.tensor([[8.0, 8, 24, 24], [12.0, 8, 28, 24]]))
    raw.scores, raw.pred_classes = torch.tensor([0.9, 0.6]), torch.tensor([0, 1])
    raw.pred_masks = torch.ones(2, 1, 28, 28)
    sem_seg = torch.zeros(len(STUFF) + 1, *SIZE)
    sem_seg[3] = 9
    monkeypatch.setattr(PanopticFPN, "inference", lambda *_, **__: ([raw], [sem_seg]))
    panoptic_seg, segments = model([{"image": torch.zeros(3, *SIZE)}])[0]["panoptic_seg"]
    assert [round(s["score"], 2) for s in segments if s["isthing"]] == things
    assert sum(s["area"] for s in segments if not s["isthing"]) == stuff_pixels


@pytest.mark.parametrize(
    ("folder", "pixels", "limit"),
    [("quickstart", 256 * 512, 263), ("pedestrian_zone", 376 * 672, 253), ("nuclei", 256 * 256, 1)],
)
def test_the_published_comparison_had_these_thresholds(
    folder: str, pixels: int, limit: int, project_root: Path
) -> None:
    """Detectron2's limit in pixels, with which its runs were measured, lets the same areas pass."""
    config = project_root / "configs" / folder / "panoptic_fpn_lite0.yaml"
    node = read_config(str(config)).MODEL.PANOPTIC_FUSION
    assert (node.SCORE_THRESH, node.OVERLAP_THRESH) == (0.5, 0.5)
    least = max(1.0, node.STUFF_AREA_FRACTION * pixels)
    assert all((area < least) == (area < limit) for area in range(1000))


def _perfect_raw(record: Dict[str, Any], truth: Dict[str, Any], name: str) -> Tuple[Any, Any]:
    """What Detectron2's heads have to answer to be right: thing indices, (S + 1, H, W) logits."""
    space = PanopticLabelSpace.from_metadata(MetadataCatalog.get(name))
    instances = truth["instances"]
    raw = Instances((record["height"], record["width"]))
    raw.pred_boxes = Boxes(instances.pred_boxes.tensor.float())
    raw.scores = instances.scores + 0.01
    raw.pred_classes = torch.tensor([space.thing_index(c) for c in instances.pred_classes.tolist()])
    raw.pred_masks = torch.ones(len(raw), 1, 28, 28)  # the objects are rectangles
    sem_seg = truth["sem_seg"] * 20
    things = sem_seg[list(space.thing_ids)].amax(dim=0, keepdim=True)
    return raw, torch.cat([things, sem_seg[list(space.stuff_ids)]])


def test_perfect_heads_score_100(
    tiny_config: Path, perfect: Any, evaluate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The evaluators understand the ids of segments, pixels and instances."""
    cfg = load_config(str(tiny_config), KEYS)
    model = build_model(cfg).eval()

    def predict(record: Dict[str, Any]) -> Dict[str, Any]:
        raw, sem_seg = _perfect_raw(record, perfect("tiny_val", record), "tiny_val")
        monkeypatch.setattr(PanopticFPN, "inference", lambda *_, **__: ([raw], [sem_seg]))
        result: Dict[str, Any] = model([record])[0]
        return result

    results = evaluate(build_evaluator(cfg, "tiny_val"), "tiny_val", predict)
    assert results["panoptic_seg"]["PQ"] == pytest.approx(100)
    assert results["sem_seg"]["mIoU"] == pytest.approx(100)
    assert results["segm"]["AP"] == pytest.approx(100)


@pytest.mark.usefixtures("fresh_loggers")
def test_it_trains_and_evaluates(train: Any, tiny_config: Path) -> None:
    results = train("--config-file", str(tiny_config), *KEYS)
    assert math.isfinite(results["panoptic_seg"]["PQ"])
    assert math.isfinite(results["sem_seg"]["mIoU"])
    assert "AP" in results["segm"]


@pytest.mark.parametrize("folder", ["quickstart", "pedestrian_zone", "nuclei", "facades"])
def test_methods_differ_behind_the_neck_only(
    folder: str, project_root: Path, clean_catalogs: None
) -> None:
    names = ("effps_lite0_solov2", "effps_lite0_mask_rcnn", "panoptic_fpn_lite0")
    paths = [project_root / "configs" / folder / f"{name}.yaml" for name in names]
    first, *others = [read_config(str(path)) for path in paths]
    for other in others:
        for node in ("INPUT", "SOLVER", "DATASETS", "DATALOADER", "TEST", "SEED"):
            assert other[node] == first[node], node
        for node in (
            "WEIGHTS",
            "BACKBONE",
            "EFFICIENTNET",
            "TWO_WAY_FPN",
            "PIXEL_MEAN",
            "PIXEL_STD",
        ):
            assert other.MODEL[node] == first.MODEL[node], node
