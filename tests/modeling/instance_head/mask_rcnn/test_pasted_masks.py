"""Pasted masks against Detectron2's own pasting, and by hand."""

import math
from typing import Tuple

import pytest
import torch
from detectron2.layers import paste_masks_in_image
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, Instances

from effps_solo.modeling.instance_head import PastedMasks
from effps_solo.modeling.instance_head.mask_rcnn.pasted_masks import EPSILON
from effps_solo.modeling.postprocessing import instances_to_output
from effps_solo.structures.label_space import PanopticLabelSpace

Size = Tuple[int, int]
LABELS = PanopticLabelSpace({i: i for i in range(11, 19)}, {i: i for i in range(11)})
OUTSIDE = math.log(EPSILON / (1 - EPSILON))


def _random_boxes(count: int, image_size: Size) -> torch.Tensor:
    """Of all sizes, some up to the border of the image, some on half pixels."""
    frame = torch.tensor([image_size[1], image_size[0]] * 2, dtype=torch.float32)
    extent = torch.rand(count, 2).pow(2) * 0.9 + 0.01
    corner = torch.rand(count, 2) * 1.2 - 0.2
    boxes = torch.cat([corner, corner + extent], dim=1).clamp(0, 1) * frame
    boxes[::3] = (boxes[::3] * 2).round() / 2
    return boxes[((boxes[:, 2:] - boxes[:, :2]) > 0.5).all(dim=1)]


def _instances(probabilities: torch.Tensor, boxes: torch.Tensor, image_size: Size) -> Instances:
    instances = Instances(image_size)
    instances.scores = torch.linspace(0.9, 0.1, len(boxes))
    instances.thing_index = torch.arange(len(boxes)) % 8
    instances.pred_boxes = Boxes(boxes.clone())
    instances.mask_source = PastedMasks(probabilities, boxes)
    return instances


def test_autocast_changes_no_logit() -> None:
    """In bf16 a probability of 0.9995 is 1, and its logit infinite."""
    masks = PastedMasks(torch.full((1, 28, 28), 0.9995), torch.tensor([[18.0, 18.0, 64.0, 64.0]]))
    expected = masks.stride4_logits((16, 16))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(masks.stride4_logits((16, 16)), expected)
    assert expected.isfinite().all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "image_size, output_size",
    [
        ((64, 96), (64, 96)),
        ((61, 93), (61, 93)),
        ((64, 96), (128, 192)),
        ((61, 93), (50, 171)),
        ((200, 133), (37, 29)),
        ((512, 1024), (512, 1024)),
    ],
)
def test_masks_equal_those_of_detectron2(image_size: Size, output_size: Size, seed: int) -> None:
    """To the last pixel: logits, saturated masks and masks of exactly one half."""
    torch.manual_seed(seed)
    boxes = _random_boxes(30, image_size)
    probabilities = (3 * torch.randn(len(boxes), 28, 28)).sigmoid()
    probabilities[1::4] = (probabilities[1::4] > 0.5).float()
    probabilities[2::4] = 0.5
    ours = instances_to_output(_instances(probabilities, boxes, image_size), output_size, LABELS)

    theirs = Instances(image_size, pred_boxes=Boxes(boxes.clone()))
    theirs.pred_masks = probabilities[:, None]
    theirs.scores = torch.linspace(0.9, 0.1, len(boxes))
    theirs = detector_postprocess(theirs, *output_size)
    visible = theirs.pred_masks.flatten(1).any(dim=1)  # ours leaves out masks without a pixel
    assert int(visible.sum()) > 10
    assert torch.equal(ours.pred_masks, theirs.pred_masks[visible])
    assert torch.equal(ours.scores, theirs.scores[visible])


@pytest.mark.parametrize("seed", range(3))
def test_windows_hold_what_the_whole_frame_holds(seed: int) -> None:
    torch.manual_seed(seed)
    boxes = _random_boxes(8, (48, 64))
    source = PastedMasks(torch.rand(len(boxes), 28, 28), boxes)
    pasted = paste_masks_in_image(source.probabilities, boxes, (48, 64))
    frames = source.frame_logits((48, 64), (48, 64))
    assert source[:0].frame_logits((48, 64), (5, 7)).shape == (0, 5, 7)
    for k in range(len(source)):
        full = source.logits(k, (0, 0, 64, 48), (48, 64))
        assert torch.equal(full > 0, pasted[k]) and torch.equal(full, frames[k])
        part = source.logits(k, (7, 5, 40, 31), (26, 33))
        torch.testing.assert_close(part, full[5:31, 7:40], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(12, 16), (1, 1), (16, 9)])
def test_stride4_logits_are_samples(size: Size) -> None:
    torch.manual_seed(0)
    boxes = _random_boxes(12, (48, 64))
    source = PastedMasks(torch.rand(len(boxes), 28, 28), boxes)
    frame = (0.0, 0.0, 4.0 * size[1], 4.0 * size[0])
    expected = torch.stack([source.logits(k, frame, size) for k in range(len(source))])
    actual = source.stride4_logits(size)
    assert actual.shape == (len(boxes), *size)
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)


def test_worked_by_hand() -> None:
    # Two cells side by side over x = 4 .. 12, y = 0 .. 4: their centres lie at x = 6 and 10.
    probabilities = torch.tensor([[[0.8, 0.2], [0.8, 0.2]]])
    source = PastedMasks(probabilities, torch.tensor([[4.0, 0.0, 12.0, 4.0]]))
    row = source.logits(0, (4, 0, 12, 4), (4, 8))[2].sigmoid()
    # Beyond the centres of the outer cells the mask fades to zero.
    expected = [0.8 * 5 / 8, 0.8 * 7 / 8, 0.725, 0.575, 0.425, 0.275, 0.2 * 7 / 8, 0.2 * 5 / 8]
    torch.testing.assert_close(row, torch.tensor(expected), rtol=1e-4, atol=1e-5)
    # Stride-4 points (2, 2), (6, 2), (10, 2), (14, 2): outside, the two centres, outside.
    logit = math.log(0.8 / 0.2)
    expected = [[[OUTSIDE, logit, -logit, OUTSIDE]]]
    torch.testing.assert_close(source.stride4_logits((1, 4)), torch.tensor(expected))


def test_probabilities_are_interpolated_and_not_logits() -> None:
    """From a sure yes to a weak no the border is near the no; with logits it would move there."""
    probabilities = torch.tensor([[[0.999, 0.4], [0.999, 0.4]]])
    source = PastedMasks(probabilities, torch.tensor([[0.0, 0.0, 8.0, 8.0]]))
    inside = (source.logits(0, (2, 2, 6, 6), (4, 400)) > 0)[1].float().mean()
    assert float(inside) == pytest.approx((0.999 - 0.5) / (0.999 - 0.4), abs=0.01)


def test_outside_the_box_there_is_no_vote() -> None:
    source = PastedMasks(torch.ones(1, 28, 28), torch.tensor([[8.0, 8.0, 24.0, 20.0]]))
    full = source.logits(0, (0, 0, 40, 32), (32, 40))
    assert (full > 0)[8:20, 8:24].all() and int((full > 0).sum()) == 12 * 16
    assert full.isfinite().all()
    torch.testing.assert_close(full[0], torch.full((40,), OUTSIDE))
    assert float(full.max()) == pytest.approx(-OUTSIDE, rel=1e-3)


def test_half_precision_gives_float_logits() -> None:
    source = PastedMasks(torch.rand(1, 28, 28).half(), torch.tensor([[0.0, 0.0, 9.0, 9.0]]).half())
    assert source.logits(0, (0, 0, 8, 8), (8, 8)).dtype == torch.float32
    assert source.stride4_logits((2, 2)).dtype == torch.float32


def test_is_a_field_of_instances() -> None:
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0]]).repeat(3, 1) * torch.tensor([[1.0], [2.0], [3.0]])
    instances = _instances(torch.rand(3, 28, 28), boxes, (32, 32))
    assert len(instances.mask_source) == 3
    picked = instances[torch.tensor([2, 1])].to("cpu").mask_source
    assert picked.boxes[:, 2].tolist() == [24.0, 16.0]
    assert torch.equal(picked.probabilities[0], instances.mask_source.probabilities[2])
    assert len(instances[2].mask_source) == 1
    empty = instances[instances.scores > 1]
    assert len(empty.mask_source) == 0
    assert empty.mask_source.stride4_logits((5, 7)).shape == (0, 5, 7)
    output = instances_to_output(empty, (20, 30), LABELS)
    assert output.pred_masks.shape == (0, 20, 30)
