"""Heuristic fusion against a paste loop, and worked by hand.

Stuff 0 (road) and 1 (house), things 2 (car) and 3 (person).
"""

from typing import Any, Callable

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import get_cfg
from detectron2.structures import Instances

from effps_solo import add_effps_solo_config
from effps_solo.modeling.fusion import FusionThresholds, HeuristicFusion, build_panoptic_fusion
from effps_solo.structures.label_space import PanopticLabelSpace

ROAD, HOUSE, CAR, PERSON = 0, 1, 2, 3
STREET = PanopticLabelSpace({26: CAR, 24: PERSON}, {7: ROAD, 11: HOUSE})
MakeInstances = Callable[..., Instances]


def _fusion(
    label_space: PanopticLabelSpace = STREET,
    score: float = 0.5,
    stuff_area: float = 0.0,
    **kwargs: Any,
) -> HeuristicFusion:
    thresholds = FusionThresholds(score=score, stuff_area=stuff_area)
    return HeuristicFusion(label_space=label_space, thresholds=thresholds, **kwargs)


def _steps(height: int, width: int, columns: slice, logit: float = 6.0) -> torch.Tensor:
    mask = torch.full((height, width), -logit)
    mask[:, columns] = logit
    return mask


def _semantic(height: int, width: int) -> torch.Tensor:
    """Road on the left, a car on the right."""
    logits = torch.full((4, height, width), -3.0)
    logits[ROAD, :, : width // 2] = 3.0
    logits[CAR, :, width // 2 :] = 3.0
    return logits


def test_worked_by_hand(make_instances: MakeInstances) -> None:
    """The better one is pasted first; the other one gets what is left of it."""
    maps = torch.stack([_steps(2, 12, slice(0, 5)), _steps(2, 12, slice(3, 8))])
    instances = make_instances(maps, [0.7, 0.9], [1, 0])
    panoptic, segments = _fusion()(_semantic(2, 12), instances, (8, 48))
    assert [(s["category_id"], s["isthing"]) for s in segments] == [(CAR, True), (PERSON, True)]
    assert [s["score"] for s in segments] == pytest.approx([0.9, 0.7])
    # Columns 12 .. 32 belong to the car, 0 .. 12 to the person, the rest is an unclaimed car: void.
    assert panoptic[4].tolist() == [2] * 12 + [1] * 20 + [0] * 16
    assert [s["area"] for s in segments] == [160, 96]


@pytest.mark.parametrize("void", [True, False])
def test_unclaimed_things(make_instances: MakeInstances, void: bool) -> None:
    """Where nobody found the car: void, or the best class of stuff, with its own probability."""
    semantic = torch.tensor([2.0, 1.0, 5.0, 0.0]).view(4, 1, 1).expand(4, 2, 4)
    nobody = make_instances(torch.zeros(0, 2, 4), [], [])
    panoptic, segments = _fusion(void_unclaimed_things=void)(semantic, nobody, (8, 16))
    assert (panoptic == (0 if void else 1)).all()
    assert [s["category_id"] for s in segments] == ([] if void else [ROAD])
    expected = float(semantic[:, 0, 0].softmax(0)[ROAD])
    assert [s["score"] for s in segments] == ([] if void else [pytest.approx(expected)])


@pytest.mark.parametrize("taken, kept", [(4, True), (5, False)])
def test_overlap(make_instances: MakeInstances, taken: int, kept: bool) -> None:
    maps = torch.stack([_steps(2, 16, slice(0, 8)), _steps(2, 16, slice(8 - taken, 16 - taken))])
    instances = make_instances(maps, [0.9, 0.8], [0, 0])
    _, segments = _fusion()(_semantic(2, 16), instances, (8, 64))
    assert sum(s["isthing"] for s in segments) == (2 if kept else 1)


@pytest.mark.parametrize("seed", range(3))
def test_against_a_paste_loop(make_instances: MakeInstances, seed: int) -> None:
    torch.manual_seed(seed)
    maps, scores = torch.randn(6, 3, 4), torch.rand(6)
    maps = F.interpolate(maps[None], size=(9, 12), mode="bicubic")[0]
    semantic = F.interpolate(3 * torch.randn(1, 4, 3, 4), size=(9, 12), mode="bicubic")[0]
    classes = torch.randint(0, 2, (6,)).tolist()
    instances = make_instances(maps, scores.tolist(), classes)
    panoptic, segments = _fusion(score=0.2)(semantic, instances, (36, 48))

    full = F.interpolate(maps[None], scale_factor=4, mode="bilinear", align_corners=False)[0] > 0
    expected, pasted = torch.zeros(36, 48), []
    for k in scores.argsort(descending=True).tolist():
        free = full[k] & (expected == 0)
        if scores[k] < 0.2 or int(full[k].sum()) == 0:
            continue
        if int(full[k].sum()) - int(free.sum()) > 0.5 * int(full[k].sum()):
            continue
        pasted.append(k)
        expected[free] = len(pasted)
    things = [s for s in segments if s["isthing"]]
    assert [s["category_id"] for s in things] == [STREET.thing_ids[classes[k]] for k in pasted]
    things_map = torch.where(panoptic <= len(things), panoptic, 0)
    # A pixel on the border of a mask may differ by rounding.
    assert (things_map != expected).float().mean() < 0.002


def test_no_instances(make_instances: MakeInstances) -> None:
    nobody = make_instances(torch.zeros(0, 4, 8), [], [])
    panoptic, segments = _fusion()(_semantic(4, 8), nobody, (16, 32))
    assert [s["category_id"] for s in segments] == [ROAD]
    assert panoptic[8].tolist() == [1] * 16 + [0] * 16


def test_small_stuff_is_void(make_instances: MakeInstances) -> None:
    nobody = make_instances(torch.zeros(0, 4, 8), [], [])
    panoptic, segments = _fusion(stuff_area=0.51)(_semantic(4, 8), nobody, (16, 32))
    assert segments == [] and not panoptic.any()


def test_things_only(make_instances: MakeInstances) -> None:
    space = PanopticLabelSpace({1: 0, 2: 1}, {})
    semantic = torch.randn(2, 4, 12)
    cell = make_instances(_steps(4, 12, slice(2, 6))[None], [0.9], [1])
    panoptic, segments = _fusion(space)(semantic, cell, (16, 48))
    assert [(s["category_id"], s["isthing"]) for s in segments] == [(1, True)]
    assert panoptic[8].tolist() == [0] * 8 + [1] * 16 + [0] * 24


def test_stuff_only(make_instances: MakeInstances) -> None:
    space = PanopticLabelSpace({}, {7: 0, 11: 1})
    nobody = make_instances(torch.zeros(0, 4, 8), [], [])
    panoptic, segments = _fusion(space)(torch.full((2, 4, 8), -1.0), nobody, (16, 32))
    assert [s["category_id"] for s in segments] == [0] and (panoptic == 1).all()


@pytest.mark.parametrize("output_size", [(15, 22), (60, 88)])
def test_any_output_size(make_instances: MakeInstances, output_size: tuple) -> None:
    """An image of 30 x 44 px of which the middle third of the columns is a car."""
    cell = make_instances(_steps(8, 11, slice(4, 8))[None], [0.9], [0], (30, 44))
    panoptic, _ = _fusion()(_semantic(8, 11), cell, output_size)
    assert panoptic.shape == output_size and panoptic.dtype == torch.int32
    columns = (panoptic == 1).all(dim=0).nonzero().flatten()
    assert int(columns[0]) == 16 * output_size[1] // 44
    assert int(columns[-1]) + 1 == 32 * output_size[1] // 44


def test_from_config() -> None:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.MODEL.PANOPTIC_FUSION.NAME = "HeuristicFusion"
    cfg.MODEL.PANOPTIC_FUSION.SCORE_THRESH = 0.25
    fusion = build_panoptic_fusion(cfg, STREET)
    assert isinstance(fusion, HeuristicFusion) and fusion.thresholds.score == 0.25
