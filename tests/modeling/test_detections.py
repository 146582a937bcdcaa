"""Boxes of masks: worked by hand and against a loop."""

import torch

from effps_solo.modeling.detections import boxes_from_masks


def test_boxes() -> None:
    masks = torch.zeros(4, 5, 7, dtype=torch.bool)
    masks[0, 1:3, 2:6] = True
    masks[1, 4, 6] = True
    masks[2] = True
    assert boxes_from_masks(masks).tolist() == [
        [2, 1, 6, 3],
        [6, 4, 7, 5],
        [0, 0, 7, 5],
        [0, 0, 0, 0],
    ]
    assert boxes_from_masks(masks[:0]).shape == (0, 4)


def test_boxes_against_a_loop() -> None:
    torch.manual_seed(0)
    masks = torch.rand(50, 6, 9) < 0.08
    for mask, box in zip(masks, boxes_from_masks(masks).tolist()):
        points = mask.nonzero().tolist()
        rows, columns = [p[0] for p in points], [p[1] for p in points]
        expected = [0.0] * 4
        if points:
            expected = [min(columns), min(rows), max(columns) + 1, max(rows) + 1]
        assert box == expected
