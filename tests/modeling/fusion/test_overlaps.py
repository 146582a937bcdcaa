"""The overlap test and the support of instances: by hand, and in order against all at once."""

import contextlib
from typing import Any, Callable, List

import pytest
import torch

from effps_solo.modeling.detections import boxes_from_masks
from effps_solo.modeling.fusion.overlaps import (
    OVERLAP_ROUNDS,
    Claims,
    first_come,
    kept_in_rounds,
    supports,
    without_overlaps,
)
from effps_solo.modeling.mask_layers import MaskLayers

AllAtOnce = Callable[[], Any]


def _kept(masks: torch.Tensor, threshold: float) -> torch.Tensor:
    """Numbers of those that stay of bool masks in order."""
    wanted = torch.ones(len(masks), dtype=torch.bool)
    kept = without_overlaps(MaskLayers.whole(masks.float() - 0.5), wanted, threshold)
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


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_the_overlap_test_in_rounds_is_that_in_order(
    all_at_once: AllAtOnce, as_exported: AllAtOnce, seed: int, threshold: float
) -> None:
    torch.manual_seed(seed)
    logits = _blobs(14, 40, 44)
    inside, wanted = logits > 0, torch.rand(14) < 0.9
    order = wanted.nonzero()[:, 0]
    expected = torch.zeros(14, dtype=torch.bool)
    expected[order[_first_come(inside[order], threshold)]] = True
    assert expected.any()
    layers = MaskLayers.of_maps(logits, boxes_from_masks(inside))
    assert len(layers.logits) < 14
    for form in (contextlib.nullcontext, all_at_once, as_exported):
        with form():
            assert torch.equal(without_overlaps(layers, wanted, threshold), expected)
            assert torch.equal(kept_in_rounds(Claims.of_maps(inside), wanted, threshold), expected)


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
        kept = kept_in_rounds(Claims.of_maps(masks), torch.ones(count, dtype=torch.bool), threshold)
        assert kept.nonzero()[:, 0].tolist() == _first_come(masks, threshold)
        dropped += count - int(kept.sum())
    assert dropped > 200


@pytest.mark.parametrize("count", [OVERLAP_ROUNDS + 1, 3 * OVERLAP_ROUNDS])
def test_the_longest_chain_that_the_rounds_decide(all_at_once: AllAtOnce, count: int) -> None:
    """Each mask covers most of the next: every second one stays. A CPU follows any chain to its end."""
    masks = torch.zeros(count, 1, 2 * count + 2, dtype=torch.bool)
    for k, mask in enumerate(masks):
        mask[0, 2 * k : 2 * k + 3] = True
    everyone, expected = torch.ones(count, dtype=torch.bool), [k % 2 == 0 for k in range(count)]
    assert kept_in_rounds(Claims.of_maps(masks), everyone, 0.3).tolist() == expected
    with all_at_once():
        kept = kept_in_rounds(Claims.of_maps(masks), everyone, 0.3).tolist()
    assert kept[: OVERLAP_ROUNDS + 1] == expected[: OVERLAP_ROUNDS + 1]
    assert _first_come(masks, 0.3) == list(range(0, count, 2))


def test_no_masks(all_at_once: AllAtOnce) -> None:
    nothing, nobody = torch.zeros(0, 5, 7), torch.zeros(0, dtype=torch.bool)
    assert first_come([], (5, 7), 0.5) == [] and supports(torch.zeros(0, 4)).shape == (0, 4)
    for form in (contextlib.nullcontext, all_at_once):
        with form():
            assert kept_in_rounds(Claims.of_maps(nothing > 0), nobody, 0.5).shape == (0,)
            kept = without_overlaps(MaskLayers.of_maps(nothing, torch.zeros(0, 4)), nobody, 0.5)
        assert kept.shape == (0,) and kept.dtype == torch.bool


def test_masks_that_share_nothing(as_exported: AllAtOnce) -> None:
    """In a graph one claim is always there; it is nobody's."""
    masks = torch.zeros(2, 1, 4, dtype=torch.bool)
    masks[0, 0, 0], masks[1, 0, 2:] = True, True
    for form in (contextlib.nullcontext, as_exported):
        with form():
            claims = Claims.of_maps(masks)
            kept = kept_in_rounds(claims, torch.ones(2, dtype=torch.bool), 0.0)
        assert claims.areas.tolist() == [1, 2] and set(claims.owners.tolist()) <= {2}
        assert kept.tolist() == [True, True]


def test_supports() -> None:
    """A box covers the points 4, 5 x 5: its neighbours have a vote, far points have none."""
    boxes = torch.tensor([[16.0, 20.0, 24.0, 24.0], [0.0, 0.0, 38.0, 40.0]])
    assert supports(boxes).tolist() == [[3, 4, 7, 7], [-1, -1, 11, 11]]
