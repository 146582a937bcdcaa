"""Mask R-CNN behind the contract of instance heads: losses, detections, empty images."""

from typing import Any, Callable, Dict, List, Optional

import pytest
import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage

from effps_solo.data.object_masks import ObjectMasks
from effps_solo.modeling.instance_head import (
    MaskRCNNInstanceHead,
    PastedMasks,
    total_over_processes,
)
from effps_solo.modeling.instance_head.mask_rcnn.head import ignored_fraction
from effps_solo.modeling.postprocessing import instances_to_output
from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.utils.errors import ConfigError

SIZE = (64, 96)
SIZES = [SIZE, (60, 90)]
BOXES = [(4, 4, 16, 12), (24, 8, 64, 48), (72, 0, 92, 60)]
LOSSES = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg", "loss_mask"}
NOTHING_IGNORED = torch.zeros(2, 16, 24, dtype=torch.bool)
Make = Callable[..., Any]


def _losses(
    head: MaskRCNNInstanceHead,
    features: Any,
    sizes: List[Any],
    instances: List[Instances],
    ignore: Optional[torch.Tensor],
) -> Dict[str, torch.Tensor]:
    """Of a step that these images are all of."""
    targets = head.targets(SIZE, instances, ignore)
    assert targets.counts.shape == (0,)  # means over the images that are seen at once
    return head.losses(features, sizes, targets, total_over_processes(targets.counts))


def test_losses(make_head: Make, make_features: Make, make_truth: Make) -> None:
    head = make_head().train()
    truth = [make_truth(BOXES), make_truth(BOXES[:1])]
    losses = _losses(head, make_features(), SIZES, truth, NOTHING_IGNORED)
    assert set(losses) == LOSSES
    assert all(loss.dim() == 0 and loss.isfinite() and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("ignored", [True, False])
def test_a_batch_without_objects(
    make_head: Make, make_features: Make, make_truth: Make, ignored: bool
) -> None:
    """Also where all proposals are ignored, so that neither box nor mask head sees a RoI."""
    head = make_head().train()
    ignore = torch.full_like(NOTHING_IGNORED, ignored)
    losses = _losses(head, make_features(), SIZES, [make_truth([]), make_truth([])], ignore)
    assert set(losses) == LOSSES
    assert all(loss.dim() == 0 and loss.isfinite() for loss in losses.values())
    assert float(losses["loss_mask"]) == 0
    assert (float(losses["loss_cls"]) > 0) == (not ignored)
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert all(b.isfinite().all() for b in head.buffers())


def test_one_image_of_two_without_objects(
    make_head: Make, make_features: Make, make_truth: Make
) -> None:
    head = make_head().train()
    losses = _losses(head, make_features(), SIZES, [make_truth([]), make_truth(BOXES)], None)
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())


def test_object_masks_train_as_bit_masks(
    make_head: Make, make_features: Make, make_truth: Make
) -> None:
    truth = make_truth(BOXES)
    objects = torch.zeros(SIZE, dtype=torch.int32)
    for k, mask in enumerate(truth.gt_masks.tensor):
        objects[mask] = k + 1
    by_map = make_truth(BOXES)
    by_map.gt_masks = ObjectMasks(objects, torch.arange(1, 4))
    results = []
    for ground_truth in (truth, by_map):
        head = make_head().train()
        torch.manual_seed(3)  # proposals are sampled
        results.append(_losses(head, make_features(1), [SIZE], [ground_truth], None))
    for name in LOSSES:
        torch.testing.assert_close(results[0][name], results[1][name])


def test_losses_are_logged_by_a_trainer(
    make_head: Make, make_features: Make, make_truth: Make
) -> None:
    with EventStorage() as storage:
        _losses(make_head(), make_features(1), [SIZE], [make_truth(BOXES)], None)
    assert "roi_head/num_fg_samples" in storage.latest()


def test_ignored_proposals_are_no_negatives(make_head: Make, make_truth: Make) -> None:
    head = make_head()
    boxes = torch.tensor(
        [
            [0.0, 0.0, 32.0, 32.0],  # void
            [80.0, 0.0, 96.0, 64.0],  # annotated
            [24.0, 0.0, 64.0, 32.0],  # a fifth of it void
            [4.0, 4.0, 15.0, 12.0],  # void, but an object
        ]
    )
    proposals = Instances(SIZE, proposal_boxes=Boxes(boxes), objectness_logits=torch.zeros(4))
    ignore = NOTHING_IGNORED[0].clone()
    ignore[:, :8] = True
    kept = head._without_ignored(proposals, make_truth(BOXES), ignore)
    assert torch.equal(kept.proposal_boxes.tensor, boxes[1:])
    fraction = ignored_fraction(boxes, ignore)
    torch.testing.assert_close(fraction, torch.tensor([1.0, 0.0, 0.2, 1.0]), rtol=0, atol=0.05)
    assert len(head._without_ignored(proposals, make_truth([]), ignore)) == 2
    assert len(head._without_ignored(proposals[:0], make_truth([]), ignore)) == 0


@pytest.mark.parametrize("boxes", [BOXES, []], ids=["objects", "empty"])
def test_losses_of_validation(
    make_head: Make, make_features: Make, make_truth: Make, boxes: Any
) -> None:
    """In evaluation mode the same as in training where no norm has statistics; modes stay as they were."""
    truth, results = [make_truth(boxes), make_truth(BOXES[:1])], []
    head = make_head(RPN={"NORM": "GN"}, ROI_MASK_HEAD={"NORM": "GN"})
    for training in (True, False):
        head.train(training)
        modes = {name: module.training for name, module in head.named_modules()}
        torch.manual_seed(3)  # proposals are sampled
        with torch.no_grad():
            results.append(_losses(head, make_features(), SIZES, truth, NOTHING_IGNORED))
        assert {name: module.training for name, module in head.named_modules()} == modes
    assert set(results[1]) == LOSSES
    for name in LOSSES:
        assert results[1][name].isfinite()
        torch.testing.assert_close(results[1][name], results[0][name])


def test_validation_leaves_the_statistics_of_norms_alone(
    make_head: Make, make_features: Make, make_truth: Make
) -> None:
    head = make_head().eval()
    before = {name: buffer.clone() for name, buffer in head.named_buffers()}
    assert any("running_mean" in name for name in before)
    with torch.no_grad():
        losses = _losses(head, make_features(1), [SIZE], [make_truth(BOXES)], None)
    assert all(loss.isfinite() for loss in losses.values())
    assert all(torch.equal(buffer, before[name]) for name, buffer in head.named_buffers())


def test_detections_keep_the_contract(lively: MaskRCNNInstanceHead, make_features: Make) -> None:
    with torch.no_grad():
        results = lively.inference(make_features(), SIZES)
    assert [x.image_size for x in results] == SIZES
    for instances in results:
        assert len(instances) > 5
        assert set(instances.get_fields()) == {
            "scores",
            "thing_index",
            "pred_boxes",
            "mask_source",
        }
        assert (instances.scores.diff() <= 0).all()
        assert ((instances.scores > 0) & (instances.scores <= 1)).all()
        assert instances.thing_index.dtype == torch.int64
        assert set(instances.thing_index.tolist()) <= {0, 1, 2}
        assert isinstance(instances.mask_source, PastedMasks)
        assert instances.mask_source.probabilities.shape == (len(instances), 28, 28)
        assert torch.equal(instances.mask_source.boxes, instances.pred_boxes.tensor)


@pytest.mark.parametrize("output_size", [SIZE, (131, 77)])
def test_output_equals_that_of_detectron2(
    lively: MaskRCNNInstanceHead, make_features: Make, output_size: Any
) -> None:
    """The whole chain of Detectron2's GeneralizedRCNN on the same features."""
    features = make_features(1)
    with torch.no_grad():
        ours = lively.inference(features, [SIZE])[0]
        images = ImageList(torch.zeros(1, 3, *SIZE), [SIZE])
        proposals, _ = lively.proposal_generator(images, features, None)
        theirs, _ = lively.roi_heads(images, features, proposals, None)
    theirs = detector_postprocess(theirs[0], *output_size)
    space = PanopticLabelSpace({5: 0, 6: 1, 7: 2}, {})
    result = instances_to_output(ours, output_size, space)
    visible = theirs.pred_masks.flatten(1).any(dim=1)
    assert len(result) == int(visible.sum()) > 5
    assert torch.equal(result.pred_masks, theirs.pred_masks[visible])
    assert torch.equal(result.pred_classes, theirs.pred_classes[visible])
    torch.testing.assert_close(result.scores, theirs.scores[visible])


def test_min_score_leaves_the_better_ones(
    lively: MaskRCNNInstanceHead, make_features: Make
) -> None:
    with torch.no_grad():
        everything = lively.inference(make_features(), SIZES)
        some = lively.inference(make_features(), SIZES, min_score=0.5)
    for a, b in zip(everything, some):
        a = a[a.scores >= 0.5]
        assert 0 < len(a) == len(b)
        assert torch.equal(a.pred_boxes.tensor, b.pred_boxes.tensor)
        torch.testing.assert_close(a.mask_source.probabilities, b.mask_source.probabilities)


def test_no_detections(lively: MaskRCNNInstanceHead, make_features: Make) -> None:
    with torch.no_grad():
        results = lively.inference(make_features(), SIZES, min_score=2.0)
    for instances, size in zip(results, SIZES):
        assert len(instances) == len(instances.mask_source) == 0 and instances.image_size == size
        assert instances.scores.shape == instances.thing_index.shape == (0,)
        assert instances.pred_boxes.tensor.shape == (0, 4)
        assert instances.mask_source.stride4_logits((3, 5)).shape == (0, 3, 5)


def test_keys_of_the_released_layout(make_head: Make) -> None:
    head = make_head(
        ROI_BOX_HEAD={"POOLER_TYPE": "ROIAlign", "POOLER_SAMPLING_RATIO": 2},
        ROI_MASK_HEAD={"POOLER_TYPE": "ROIAlign", "POOLER_SAMPLING_RATIO": 2},
    )
    for pooler in (head.roi_heads.box_pooler, head.roi_heads.mask_pooler):
        poolers: List[Any] = list(pooler.level_poolers)
        assert len(poolers) == 4
        assert all(isinstance(p, ROIAlign) and not p.aligned for p in poolers)
    assert all(p.aligned for p in make_head().roi_heads.box_pooler.level_poolers)


def test_anchors(make_head: Make, make_features: Make) -> None:
    """Three a cell, in its middle, on p2 .. p5; areas by key."""
    generator = make_head().proposal_generator.anchor_generator
    levels = list(make_features(1).values())
    for level, anchors in enumerate(generator(levels)):
        stride, first = 4 << level, anchors.tensor[:3]
        assert len(anchors) == 3 * levels[level].shape[-2] * levels[level].shape[-1]
        torch.testing.assert_close(anchors[:3].get_centers(), torch.full((3, 2), stride / 2))
        torch.testing.assert_close(anchors[:3].area(), torch.full((3,), float(8 << level) ** 2))
        width, height = (first[:, 2:] - first[:, :2]).unbind(1)
        torch.testing.assert_close(height / width, torch.tensor([0.5, 1.0, 2.0]))


def test_heads_without_masks_are_refused(make_head: Make) -> None:
    head = make_head()
    head.roi_heads.mask_on = False
    with pytest.raises(ConfigError, match="MODEL.ROI_HEADS.NAME is StandardROIHeads"):
        MaskRCNNInstanceHead(proposal_generator=head.proposal_generator, roi_heads=head.roi_heads)
