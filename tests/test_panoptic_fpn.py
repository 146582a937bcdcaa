"""Detectron2's PanopticFPN behind this project's label spaces."""

from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.modeling.meta_arch.panoptic_fpn import combine_semantic_and_instance_outputs
from detectron2.modeling.postprocessing import detector_postprocess, sem_seg_postprocess
from detectron2.structures import BitMasks, Instances
from detectron2.utils.events import EventStorage

from effps_solo.engine import load_config
from effps_solo.label_space import PanopticLabelSpace
from effps_solo.panoptic_fpn import LabelSpacePanopticFPN, class_logits, semantic_labels

CONFIG = Path(__file__).parent.parent / "configs" / "quickstart" / "panoptic_fpn_lite0.yaml"
SIZE = (64, 96)
STUFF, THINGS = range(11), range(11, 19)


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
    model.combine_instances_score_thresh, model.combine_stuff_area_thresh = 0.0, 1
    model.roi_heads.box_predictor.test_score_thresh = 0.0
    x = {"image": _sample([])["image"], "height": 60, "width": 90}
    with torch.inference_mode():
        output = model([x])[0]
        detections, sem_seg = model.inference([x], do_postprocess=False)
        sem_seg = sem_seg_postprocess(sem_seg[0], SIZE, 60, 90)
        expected, expected_segments = combine_semantic_and_instance_outputs(
            detector_postprocess(detections[0], 60, 90),
            sem_seg.argmax(dim=0),
            model.combine_overlap_thresh,
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
