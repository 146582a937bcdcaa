"""The overlap test and the support of instances: by hand, and in order against all at once."""

from typing import Any, Callable, List

import pytest
import torch

from effps_solo.modeling.fusion.overlaps import (
    OVERLAP_ROUNDS,
    first_come,
    in_support,
    kept_in_rounds,
    support_windows,
    without_overlaps,
)

AllAtOnce = Callable[[], Any]


def _kept(masks: torch.Tensor, threshold: float) -> torch.Tensor:
    """Numbers of those that stay of bool masks in order, with windows that cover everything."""
    everywhere = torch.tensor([0.0, 0.0, 4.0 * masks.shape[2], 4.0 * masks.shape[1]])
    boxes, wanted = everywhere.expand(len(masks), 4), torch.ones(len(masks), dtype=torch.bool)
    kept = without_overlaps(masks.float() - 0.5, boxes, wanted, threshold)
    assert kept.shape == (len(masks),) and kept.dtype == torch.bool
    return kept.nonzero()[:, 0]


def test_without_overlaps() -> None:
    masks = torch.zeros(5, 2, 4, dtype=torch.bool)
    masks[0, 0] = True
    masks[1, :, :2] = True  # half of it is taken: stays
    masks[2, 0, :3] = True  # all of it is taken
    masks[4] = True  # 6 of 8 points are taken; 3 is empty
    assert _kept(masks, 0.5).tolist() == [0, 1]
    assert _kept(masks, 0.75).tolist() == [0, 1, 4]
    assert _kept(masks, 1.0).tolist() == [0, 1, 2, 4]
    assert _kept(masks, 0.0).tolist() == [0]
    assert _kept(masks[:0], 0.5).shape == (0,)


def test_a_dropped_instance_takes_nothing() -> None:
    """The overlap of a dropped mask does not count against a later one."""
    masks = torch.zeros(3, 1, 8, dtype=torch.bool)
    masks[0, 0, :4] = True
    masks[1, 0, 1:6] = True  # 3 of 5 taken: dropped
    masks[2, 0, 4:6] = True
    assert _kept(masks, 0.5).tolist() == [0, 2]


def _blobs(count: int, height: int, width: int) -> torch.Tensor:
    """(count, height, width) logits of boxes that overlap a lot; some are empty."""
    logits = torch.full((count, height, width), -1.0)
    for mask in logits[1:]:
        y, x = (int(torch.randint(0, side, ())) for side in (height, width))
        rows, columns = torch.randint(1, 9, (2,)).tolist()
        mask[y : y + rows, x : x + columns] = 1.0
    return logits


def _boxes(inside: torch.Tensor) -> torch.Tensor:
    """(K, 4) in pixels, around masks that are not empty."""
    boxes = []
    for rows, columns in zip(inside.any(dim=2), inside.any(dim=1)):
        y, x = rows.nonzero()[:, 0], columns.nonzero()[:, 0]
        boxes.append([4 * x.min(), 4 * y.min(), 4 * (x.max() + 1), 4 * (y.max() + 1)])
    return torch.tensor(boxes, dtype=torch.float32)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_the_overlap_test_in_rounds_is_that_in_order(
    all_at_once: AllAtOnce, as_exported: AllAtOnce, seed: int, threshold: float
) -> None:
    torch.manual_seed(seed)
    logits = _blobs(14, 20, 24)
    boxes = torch.cat([torch.zeros(1, 4), _boxes(logits[1:] > 0)])
    wanted = torch.rand(14) < 0.9
    expected = without_overlaps(logits, boxes, wanted, threshold)
    assert expected.any()
    for form in (all_at_once, as_exported):
        with form():
            assert torch.equal(without_overlaps(logits, boxes, wanted, threshold), expected)
    assert torch.equal(kept_in_rounds(logits > 0, wanted, threshold), expected)


def _first_come(masks: torch.Tensor, threshold: float) -> List[int]:
    size = (masks.shape[1], masks.shape[2])
    window = (slice(0, size[0]), slice(0, size[1]))
    return first_come(((window, mask) for mask in masks), size, threshold)


def test_rounds_and_order_agree_on_any_masks() -> None:
    """200 sets of masks of all kinds, too few for a chain that the rounds do not reach the end of."""
    generator = torch.Generator().manual_seed(0)
    dropped = 0
    for _ in range(200):
        count = int(torch.randint(0, OVERLAP_ROUNDS + 2, (), generator=generator))
        centers = 9 * torch.rand(count, 2, 1, generator=generator)
        reach = 6 * torch.rand(count, 2, 1, generator=generator)
        rows, columns = ((torch.arange(9.0) - centers).abs() < reach).unbind(1)
        masks = rows[:, :, None] & columns[:, None, :]
        masks &= torch.rand(masks.shape, generator=generator) < 0.9
        threshold = float(torch.rand((), generator=generator))
        kept = kept_in_rounds(masks, torch.ones(count, dtype=torch.bool), threshold)
        assert kept.nonzero()[:, 0].tolist() == _first_come(masks, threshold)
        dropped += count - int(kept.sum())
    assert dropped > 200


def test_the_longest_chain_that_the_rounds_decide() -> None:
    """Each mask covers most of the next: every second one stays."""
    count = OVERLAP_ROUNDS + 1
    masks = torch.zeros(count, 1, 2 * count + 2, dtype=torch.bool)
    for k, mask in enumerate(masks):
        mask[0, 2 * k : 2 * k + 3] = True
    kept = kept_in_rounds(masks, torch.ones(count, dtype=torch.bool), 0.3)
    assert kept.tolist() == [k % 2 == 0 for k in range(count)]
    assert kept.nonzero()[:, 0].tolist() == _first_come(masks, 0.3)


def test_no_masks(all_at_once: AllAtOnce) -> None:
    nothing, nobody = torch.zeros(0, 5, 7), torch.zeros(0, dtype=torch.bool)
    assert kept_in_rounds(nothing > 0, nobody, 0.5).shape == (0,)
    assert first_come([], (5, 7), 0.5) == []
    assert in_support(torch.zeros(0, 4), (5, 7)).shape == (0, 5, 7)
    with all_at_once():
        kept = without_overlaps(nothing, torch.zeros(0, 4), nobody, 0.5)
    assert kept.shape == (0,) and kept.dtype == torch.bool


def test_support_windows() -> None:
    boxes = torch.tensor(
        [[16.0, 20.0, 24.0, 24.0], [0.0, 0.0, 40.0, 40.0], [-9.0, 60.0, -8.0, 70.0]]
    )
    near, everything, beyond = support_windows(boxes, (10, 10))
    assert everything == (slice(0, 10), slice(0, 10))
    # The box covers the points 4, 5 x 5; every neighbour has a vote, far points have none.
    assert near == (slice(4, 7), slice(3, 7))
    assert torch.zeros(10, 10)[beyond].numel() == 0
    assert support_windows(boxes[:0], (10, 10)) == []


def test_support_is_that_of_the_windows() -> None:
    torch.manual_seed(0)
    inside = _blobs(9, 20, 24)[1:] > 0
    boxes = torch.cat(
        [_boxes(inside), torch.tensor([[-9.0, 90.0, -8.0, 99.0], [3.0, 3.0, 5.0, 5.0]])]
    )
    expected = torch.zeros(len(boxes), 20, 24, dtype=torch.bool)
    for mask, window in zip(expected, support_windows(boxes, (20, 24))):
        mask[window] = True
    assert torch.equal(in_support(boxes, (20, 24)), expected)
    assert expected.flatten(1).any(dim=1).tolist() == [True] * 8 + [False, True]
