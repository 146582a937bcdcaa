"""Decoding of SOLOv2 against loops written from the paper."""

import math
from typing import List, Set, Tuple

import pytest
import torch

from effps_solo.modeling.instance_head.solov2.inference import (
    mask_intersections,
    matrix_nms,
    points_nms,
    select_candidates,
)


def _points_nms_loop(scores: torch.Tensor) -> torch.Tensor:
    result = torch.zeros_like(scores)
    for n in range(scores.shape[0]):
        for c in range(scores.shape[1]):
            for i in range(scores.shape[2]):
                for j in range(scores.shape[3]):
                    neighbours = [(i - 1, j), (i, j - 1), (i - 1, j - 1)]
                    beaten = any(
                        a >= 0 and b >= 0 and scores[n, c, a, b] > scores[n, c, i, j]
                        for a, b in neighbours
                    )
                    if not beaten:
                        result[n, c, i, j] = scores[n, c, i, j]
    return result


@pytest.mark.parametrize("levels", [3, 1000])
@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (6, 4), (5, 9)])
def test_points_nms_against_a_loop(levels: int, grid: Tuple[int, int]) -> None:
    """With three values there are many ties."""
    torch.manual_seed(0)
    scores = torch.randint(1, levels + 1, (2, 3, *grid)) / levels
    assert torch.equal(points_nms(scores), _points_nms_loop(scores))


def test_points_nms_worked_by_hand() -> None:
    scores = torch.tensor([[0.5, 0.4, 0.4], [0.6, 0.1, 0.4], [0.2, 0.2, 0.9]])
    expected = torch.tensor([[0.5, 0.0, 0.4], [0.6, 0.0, 0.4], [0.0, 0.0, 0.9]])
    assert torch.equal(points_nms(scores[None, None])[0, 0], expected)


def test_select_candidates() -> None:
    scores = torch.tensor([[0.3, 0.1], [0.9, 0.3], [0.05, 0.5]])
    values, cells, classes, valid = select_candidates(scores, max_candidates=10, threshold=0.0)
    # The two 0.3 keep their order.
    torch.testing.assert_close(values, torch.tensor([0.9, 0.5, 0.3, 0.3, 0.1, 0.05]))
    assert cells.tolist() == [1, 2, 0, 1, 0, 2]
    assert classes.tolist() == [0, 1, 0, 1, 1, 0]
    assert valid.tolist() == [True] * 6
    values, cells, classes, _ = select_candidates(scores, max_candidates=2, threshold=0.0)
    assert (cells.tolist(), classes.tolist()) == ([1, 2], [0, 1])
    torch.testing.assert_close(values, torch.tensor([0.9, 0.5]))
    # A candidate has a higher score than the threshold.
    values, cells, _, valid = select_candidates(scores, max_candidates=10, threshold=0.3)
    torch.testing.assert_close(values, torch.tensor([0.9, 0.5]))
    assert (cells.tolist(), valid.tolist()) == ([1, 2], [True, True])
    for nothing in (scores[:0], scores):
        for part in select_candidates(nothing, max_candidates=2, threshold=0.9):
            assert part.shape == (0,)


def test_select_candidates_against_a_loop() -> None:
    torch.manual_seed(0)
    scores = torch.rand(50, 7)
    pairs = [(float(scores[i, c]), i, c) for i in range(50) for c in range(7)]
    pairs = sorted(pairs, reverse=True)[:60]
    values, cells, classes, _ = select_candidates(scores, max_candidates=60, threshold=0.0)
    assert list(zip(values.tolist(), cells.tolist(), classes.tolist())) == pairs


def test_equal_scores_keep_their_order() -> None:
    scores = torch.ones(40, 3)
    scores[20:] = 0.5
    _, cells, classes, _ = select_candidates(scores, max_candidates=120, threshold=0.0)
    assert (cells * 3 + classes).tolist() == list(range(120))


def test_intersections() -> None:
    torch.manual_seed(0)
    masks = torch.rand(25, 30, 40) < torch.rand(25, 1, 1)
    shared = mask_intersections(masks)
    assert shared.dtype == torch.float32
    for i, j in ((0, 0), (3, 7), (24, 1)):
        assert int(shared[i, j]) == int((masks[i] & masks[j]).sum())
    assert mask_intersections(masks[:0]).shape == (0, 0)


def _iou(a: Set[int], b: Set[int]) -> float:
    return len(a & b) / len(a | b) if a or b else 0.0


def _matrix_nms_loop(
    masks: torch.Tensor, classes: torch.Tensor, scores: torch.Tensor, kernel: str, sigma: float
) -> List[float]:
    """Paper, equations 4 and 5: decay_j = min over better i of f(iou_ij) / f(iou_.i)."""
    pixels = [set(mask.flatten().nonzero().flatten().tolist()) for mask in masks]
    label, score = classes.tolist(), scores.tolist()
    count = len(pixels)
    iou = [[_iou(a, b) for b in pixels] for a in pixels]

    def decay(value: float) -> float:
        return math.exp(-sigma * value**2) if kernel == "gaussian" else 1 - value

    def better(i: int, j: int) -> bool:
        return label[i] == label[j] and (score[i], -i) > (score[j], -j)

    most = [
        max((iou[k][i] for k in range(count) if better(k, i)), default=0.0) for i in range(count)
    ]
    result = []
    for j in range(count):
        factors = [
            decay(iou[i][j]) / max(decay(most[i]), 1e-6) for i in range(count) if better(i, j)
        ]
        result.append(score[j] * min(factors, default=1.0))
    return result


def _random_masks(count: int, size: Tuple[int, int] = (12, 16)) -> torch.Tensor:
    masks = torch.zeros(count, *size, dtype=torch.bool)
    for mask in masks:
        y, x = int(torch.randint(0, size[0] - 2, ())), int(torch.randint(0, size[1] - 2, ()))
        h, w = torch.randint(2, 9, (2,)).tolist()
        mask[y : y + h, x : x + w] = True
    return masks


@pytest.mark.parametrize("kernel, sigma", [("gaussian", 2.0), ("gaussian", 0.7), ("linear", 2.0)])
@pytest.mark.parametrize("seed", range(20))
def test_matrix_nms_against_the_paper(kernel: str, sigma: float, seed: int) -> None:
    torch.manual_seed(seed)
    masks, classes = _random_masks(25), torch.randint(0, 2, (25,))
    masks[3] = masks[8] = masks[12]
    masks[20] = masks[21]
    masks[20, 0, 0] ^= True
    masks[11] = masks[14] = False
    scores = torch.rand(25)
    scores[5:9] = 0.5  # ties: the earlier one is the better one
    actual = matrix_nms(masks, classes, scores, kernel=kernel, sigma=sigma)
    expected = _matrix_nms_loop(masks, classes, scores, kernel, sigma)
    assert actual.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_matrix_nms_of_any_order(kernel: str) -> None:
    torch.manual_seed(1)
    masks, classes, scores = _random_masks(40), torch.randint(0, 3, (40,)), torch.rand(40)
    straight = matrix_nms(masks, classes, scores, kernel=kernel)
    order = torch.randperm(40)
    shuffled = matrix_nms(masks[order], classes[order], scores[order], kernel=kernel)
    torch.testing.assert_close(shuffled, straight[order])


def test_matrix_nms_worked_by_hand() -> None:
    masks = torch.zeros(3, 1, 8, dtype=torch.bool)
    masks[0, 0, 0:4] = True
    masks[1, 0, 2:6] = True  # iou with the first: 2 / 6
    masks[2, 0, 0:4] = True  # equals the first, 2 / 6 with the second
    scores, classes = torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.int64)
    # Linear. Second: 1 - 1/3. Third: min(1 - 1, (1 - 1/3) / (1 - 1/3)) = 0.
    actual = matrix_nms(masks, classes, scores, kernel="linear")
    assert actual.tolist() == pytest.approx([0.9, 0.8 * 2 / 3, 0.0])
    # Gaussian. Third: min(e^-2, e^0).
    actual = matrix_nms(masks, classes, scores)
    expected = [0.9, 0.8 * math.exp(-2 / 9), 0.7 * math.exp(-2)]
    assert actual.tolist() == pytest.approx(expected)
    # Other classes do not meet.
    actual = matrix_nms(masks, torch.tensor([0, 1, 2]), scores)
    assert torch.equal(actual, scores)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_matrix_nms_of_identical_masks(kernel: str) -> None:
    """Three identical masks are 0 / 0 in the linear kernel of the formula."""
    masks = torch.ones(3, 4, 4, dtype=torch.bool)
    scores = torch.tensor([0.9, 0.8, 0.7])
    actual = matrix_nms(masks, torch.zeros(3, dtype=torch.int64), scores, kernel=kernel)
    expected = [0.9, 0.0, 0.0]
    if kernel == "gaussian":
        expected = [0.9, 0.8 * math.exp(-2), 0.7 * math.exp(-2)]
    assert actual.tolist() == pytest.approx(expected)


def test_matrix_nms_of_empty_masks_and_of_none() -> None:
    classes, scores = torch.zeros(2, dtype=torch.int64), torch.tensor([0.3, 0.4])
    empty = torch.zeros(2, 3, 3, dtype=torch.bool)
    assert torch.equal(matrix_nms(empty, classes, scores), scores)
    assert matrix_nms(empty[:0], classes[:0], scores[:0]).shape == (0,)
    assert torch.equal(matrix_nms(empty[:1], classes[:1], scores[:1]), scores[:1])


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_matrix_nms_of_600_objects(kernel: str) -> None:
    """Most of them of one class; ties, identical and empty masks among them."""
    torch.manual_seed(2)
    masks = _random_masks(600, (24, 32))
    masks[100:104], masks[200:203] = masks[100], False
    classes = torch.randint(0, 5, (600,)).clamp(max=1)
    scores = torch.randint(1, 300, (600,)) / 300
    actual = matrix_nms(masks, classes, scores, kernel=kernel)
    assert actual.isfinite().all() and (actual >= 0).all() and (actual <= scores).all()
    expected = _matrix_nms_loop(masks, classes, scores, kernel, 2.0)
    assert actual.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_matrix_nms_never_looks_at_lower_scores(kernel: str) -> None:
    torch.manual_seed(3)
    masks, classes = _random_masks(50), torch.randint(0, 2, (50,))
    scores = torch.rand(50).sort(descending=True).values
    everything = matrix_nms(masks, classes, scores, kernel=kernel)
    for count in (1, 2, 7, 49):
        first = matrix_nms(masks[:count], classes[:count], scores[:count], kernel=kernel)
        torch.testing.assert_close(first, everything[:count])


def test_matrix_nms_does_not_change_its_input() -> None:
    masks, scores = _random_masks(5), torch.rand(5)
    before = masks.clone(), scores.clone()
    matrix_nms(masks, torch.zeros(5, dtype=torch.int64), scores)
    assert torch.equal(masks, before[0]) and torch.equal(scores, before[1])


def test_unknown_kernel() -> None:
    with pytest.raises(ValueError, match="NMS_KERNEL is 'hard'; choose gaussian or linear"):
        matrix_nms(
            torch.ones(1, 2, 2, dtype=torch.bool),
            torch.zeros(1, dtype=torch.int64),
            torch.ones(1),
            kernel="hard",
        )
