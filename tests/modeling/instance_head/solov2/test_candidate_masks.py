"""What decides about candidates, and the layers of those that stay: against dense masks, in all forms."""

import contextlib
import math
from typing import Any, Callable, List, Tuple

import pytest
import torch
import torch.nn.functional as F

from effps_solo.modeling.detections import boxes_from_masks
from effps_solo.modeling.instance_head.solov2.candidate_masks import CandidateMasks
from effps_solo.modeling.instance_head.solov2.dynamic_masks import DynamicMasks

Form = Callable[[], Any]


@pytest.fixture(params=["parts", "at once", "exported"])
def form(request: pytest.FixtureRequest, all_at_once: Form, as_exported: Form) -> Form:
    forms = {"parts": contextlib.nullcontext, "at once": all_at_once, "exported": as_exported}
    return forms[request.param]


def of_maps(logits: torch.Tensor) -> DynamicMasks:
    """Masks that are (K, h, w) logits: each kernel picks a channel."""
    return DynamicMasks(torch.eye(len(logits)), logits.permute(1, 2, 0))


def random_masks(size: Tuple[int, int], num_cells: int, has_prior: bool) -> DynamicMasks:
    """Kernels short and long, features that may be 0 or negative."""
    torch.manual_seed(0)
    features = torch.randn(*size, 6) * torch.rand(6)
    features[:, size[1] * 5 // 7 :] = 0
    kernels = torch.randn(num_cells, 6 + 5 * has_prior)
    kernels[:, :6] *= torch.logspace(-2, 1, num_cells)[:, None]
    masks = DynamicMasks(kernels, features)
    if has_prior:
        masks.centers = torch.rand(num_cells, 2) * torch.tensor([4.0 * size[1], 4.0 * size[0]])
        masks.extents = torch.logspace(0, 2, num_cells)
    return masks


def test_areas_and_maskness(form: Form) -> None:
    logits = torch.full((3, 2, 4), -2.0)
    logits[0, 0, :2] = torch.tensor([0.0, 3.0])  # a logit of 0 is outside
    logits[1] = 1.0
    with form():
        areas, maskness, shared = CandidateMasks(of_maps(logits)).measures()
    assert areas.tolist() == [1, 8, 0]
    assert shared.tolist() == [[1, 1, 0], [1, 8, 0], [0, 0, 0]]
    expected = [1 / (1 + math.exp(-3)), 1 / (1 + math.exp(-1)), 0.0]
    assert maskness.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("size", [(1, 1), (32, 32), (33, 31), (70, 100)])
@pytest.mark.parametrize("has_prior", [False, True])
def test_measures_against_dense_masks(size: Tuple[int, int], has_prior: bool, form: Form) -> None:
    """Masks of all sizes, some empty, some in one tile, some over many; areas above 256."""
    masks = random_masks(size, 25, has_prior)
    with form():
        areas, maskness, shared = CandidateMasks(masks).measures()
    logits = masks.logits()
    inside = logits > 0
    flat = inside.flatten(1).double()
    assert torch.equal(shared.double(), flat @ flat.T)
    assert areas.tolist() == inside.flatten(1).sum(1).tolist()
    for k, mask in enumerate(inside):
        expected = float(logits[k][mask].sigmoid().mean()) if mask.any() else 0.0
        assert float(maskness[k]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [(40, 70), (38, 65), (3, 1)])
@pytest.mark.parametrize("has_prior", [False, True])
def test_layers_and_boxes(size: Tuple[int, int], has_prior: bool, form: Form) -> None:
    """The dense logits in and up to two points around each mask; far away what no mask can have."""
    chosen = torch.tensor([2, 29, 11, 12, 0])
    masks = random_masks((40, 70), 30, has_prior).of(torch.arange(30), size)
    with form():
        layers = CandidateMasks(masks).layers(chosen)
    maps, dense = layers.maps(), masks.logits()[chosen]
    inside = dense > 0
    near = F.max_pool2d(inside.float(), 5, stride=1, padding=2) > 0
    assert maps.shape == dense.shape and torch.equal(maps > 0, inside)
    torch.testing.assert_close(maps[near], dense[near], rtol=1e-5, atol=1e-4)
    far = ~torch.isclose(maps, dense, rtol=1e-5, atol=1e-4)
    assert (maps[far] < -9).all() and torch.equal(layers.boxes(), boxes_from_masks(inside))
    if has_prior and size == (40, 70):
        assert inside.any() and far.any() and not inside.all()


@pytest.mark.parametrize("has_prior", [False, True])
def test_no_candidate(has_prior: bool, all_at_once: Form) -> None:
    for form in (contextlib.nullcontext, all_at_once):
        with form():
            found = CandidateMasks(random_masks((40, 70), 5, has_prior).of(torch.arange(0)))
            areas, maskness, shared = found.measures()
            layers = found.layers(torch.arange(0))
        assert areas.shape == maskness.shape == (0,) and shared.shape == (0, 0)
        assert layers.maps().shape == (0, 40, 70) and layers.boxes().shape == (0, 4)


def test_a_tile_costs_the_masks_that_reach_into_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty small blobs on a map of 4 x 8 tiles: no more than a few masks are looked at in any."""
    masks = random_masks((128, 256), 40, True)
    masks.kernels[:, :6] = 0
    masks.extents = torch.full((40,), 16.0)
    looked_at: List[int] = []
    of_tiles = CandidateMasks._logits

    def counted(self: CandidateMasks, tiles: Any, members: torch.Tensor) -> torch.Tensor:
        looked_at.append(members.numel())
        return of_tiles(self, tiles, members)

    monkeypatch.setattr(CandidateMasks, "_logits", counted)
    found = CandidateMasks(masks)
    assert int((found.measures().areas > 0).sum()) > 30
    assert sum(looked_at) < 0.3 * 40 * 32
