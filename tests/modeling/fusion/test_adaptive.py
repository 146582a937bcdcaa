"""Adaptive fusion: small maps worked out by hand.

Label space of most tests: stuff 0 (road) and 1 (house), things 2 (car) and 3 (person).
"""

import math
from typing import Any, Callable, Dict, List, Tuple

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import get_cfg
from detectron2.structures import Instances

from effps_solo import add_effps_solo_config
from effps_solo.modeling.fusion import AdaptiveFusion, FusionThresholds, build_panoptic_fusion
from effps_solo.structures.label_space import PanopticLabelSpace

ROAD, HOUSE, CAR, PERSON = 0, 1, 2, 3
STREET = PanopticLabelSpace({26: CAR, 24: PERSON}, {7: ROAD, 11: HOUSE})
MakeInstances = Callable[..., Instances]


def _fusion(
    label_space: PanopticLabelSpace = STREET, stuff_area: float = 0.0, **kwargs: Any
) -> AdaptiveFusion:
    thresholds = FusionThresholds(stuff_area=stuff_area)
    return AdaptiveFusion(label_space=label_space, thresholds=thresholds, **kwargs)


def _semantic(height: int, width: int, winner: int = ROAD, num_classes: int = 4) -> torch.Tensor:
    """Logit 2 for one class, -2 for the others."""
    logits = torch.full((num_classes, height, width), -2.0)
    logits[winner] = 2.0
    return logits


def _blob(height: int, width: int, rows: slice, columns: slice) -> torch.Tensor:
    mask = torch.full((height, width), -6.0)
    mask[rows, columns] = 6.0
    return mask


def _category_map(panoptic: torch.Tensor, segments: List[Dict[str, Any]]) -> torch.Tensor:
    """(H, W) category of every pixel, -1 for void."""
    categories = torch.full(panoptic.shape, -1)
    for segment in segments:
        categories[panoptic == segment["id"]] = segment["category_id"]
    return categories


def _check_consistency(panoptic: torch.Tensor, segments: List[Dict[str, Any]]) -> None:
    assert panoptic.dtype == torch.int32
    ids = [s["id"] for s in segments]
    assert sorted(set(panoptic.unique().tolist()) - {0}) == sorted(ids)
    for segment in segments:
        assert set(segment) == {"id", "category_id", "isthing", "score", "area"}
        assert segment["area"] == int((panoptic == segment["id"]).sum()) > 0
        assert type(segment["isthing"]) is bool
        assert 0 <= segment["score"] <= 1


def test_worked_by_hand(make_instances: MakeInstances) -> None:
    """A car on the road in a 4 x 4 map: its four points, and the pixels that follow from them."""
    semantic = _semantic(4, 4)
    semantic[CAR, 1:3, 1:3], semantic[ROAD, 1:3, 1:3] = 2.0, -2.0
    car = _blob(4, 4, slice(1, 3), slice(1, 3))
    panoptic, segments = _fusion()(semantic, make_instances(car[None], [0.9], [0]), (16, 16))
    _check_consistency(panoptic, segments)
    assert [(s["category_id"], s["isthing"]) for s in segments] == [(CAR, True), (ROAD, False)]
    assert segments[0]["score"] == pytest.approx(0.9)
    # Between the point (2, .) outside and (6, .) inside, at the fraction t, ML_A = 12 t - 6,
    # ML_B = 4 t - 2 and the road 2 - 4 t. Pixel 3, t = 3/8: FL = (s(-1.5) + s(-0.5)) * -2 = -1.12
    # against 0.5. Pixel 4, t = 5/8: FL = (s(1.5) + s(0.5)) * 2 = 2.88 against -0.5.
    row = panoptic[7]
    assert row.tolist() == [2] * 4 + [1] * 8 + [2] * 4
    assert panoptic[:, 7].tolist() == row.tolist()


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_semantic_and_mask_logits_both_count(make_instances: MakeInstances, scale: float) -> None:
    """A mask logit of 1 where the car's semantic logit is -3: FL < 0 unless ML_A counts 4 times."""
    semantic = torch.zeros(4, 4, 4)
    semantic[HOUSE], semantic[CAR], semantic[PERSON] = -1.0, -3.0, -9.0
    maps = torch.ones(1, 4, 4)
    fusion = _fusion(instance_logit_scale=scale)
    panoptic, segments = fusion(semantic, make_instances(maps, [0.8], [0]), (16, 16))
    expected = [CAR] if scale == 4.0 else [ROAD]
    assert [s["category_id"] for s in segments] == expected
    assert (panoptic == 1).all()


def test_two_instances_share_by_their_logits(make_instances: MakeInstances) -> None:
    """Where two masks overlap, the larger FL wins, not the better score."""
    semantic = _semantic(2, 6, CAR)
    maps = torch.full((2, 2, 6), -6.0)
    maps[0, :, :4], maps[1, :, 2:] = 3.0, 5.0
    panoptic, segments = _fusion()(semantic, make_instances(maps, [0.9, 0.8], [0, 0]), (8, 24))
    assert [s["score"] for s in segments] == pytest.approx([0.9, 0.8])
    assert (panoptic[:, :8] == 1).all() and (panoptic[:, 10:] == 2).all()


@pytest.mark.parametrize("taken, kept", [(4, True), (5, False)])
def test_overlap(make_instances: MakeInstances, taken: int, kept: bool) -> None:
    """An instance of 8 points of which 4 are taken stays (not more than half), with 5 it goes."""
    semantic = _semantic(1, 16, CAR)
    maps = torch.full((2, 1, 16), -6.0)
    maps[0, 0, :8] = 6.0
    maps[1, 0, 8 - taken : 16 - taken] = 6.0
    instances = make_instances(maps, [0.9, 0.8], [0, 0])
    _, segments = _fusion()(semantic, instances, (4, 64))
    assert len([s for s in segments if s["isthing"]]) == (2 if kept else 1)
    # The other one first.
    swapped = make_instances(maps.flip(0), [0.9, 0.8], [0, 0])
    _, other = _fusion()(semantic, swapped, (4, 64))
    assert [s["score"] for s in other] == [s["score"] for s in segments]


def test_scores_below_the_threshold_stay_out(make_instances: MakeInstances) -> None:
    semantic = _semantic(4, 12, CAR)
    maps = torch.stack([_blob(4, 12, slice(0, 4), slice(k, k + 4)) for k in (0, 4, 8)])
    instances = make_instances(maps, [0.49, 0.5, 0.9], [0, 0, 0])
    panoptic, segments = _fusion()(semantic, instances, (16, 48))
    assert [s["score"] for s in segments] == pytest.approx([0.9, 0.5])
    assert panoptic[8, [24, 40]].tolist() == [2, 1]
    assert panoptic[8, 6] == 0  # a car nobody found: void


@pytest.mark.parametrize("void", [True, False])
def test_unclaimed_things(make_instances: MakeInstances, void: bool) -> None:
    semantic = _semantic(4, 8)
    semantic[CAR, :, 4:] = 5.0  # road 2 is the best stuff class there
    nobody = make_instances(torch.zeros(0, 4, 8), [], [])
    panoptic, segments = _fusion(void_unclaimed_things=void)(semantic, nobody, (16, 32))
    categories = _category_map(panoptic, segments)
    assert (categories[:, :16] == ROAD).all()
    assert (categories[:, 20:] == (-1 if void else ROAD)).all()


def test_stuff_that_wins_only_where_things_are_unclaimed_has_a_score(
    make_instances: MakeInstances,
) -> None:
    semantic = torch.tensor([2.0, 1.0, 5.0, 0.0]).view(4, 1, 1).expand(4, 2, 4)
    nobody = make_instances(torch.zeros(0, 2, 4), [], [])
    _, segments = _fusion(void_unclaimed_things=False)(semantic, nobody, (8, 16))
    expected = float(semantic[:, 0, 0].softmax(0)[ROAD])
    assert [s["score"] for s in segments] == [pytest.approx(expected)]


@pytest.mark.parametrize("fraction, kept", [(0.25, True), (0.26, False), (0.0, True)])
def test_small_stuff_is_void(make_instances: MakeInstances, fraction: float, kept: bool) -> None:
    """A quarter of house: the fraction counts the output's pixels, at any size."""
    semantic = torch.full((4, 4, 8), -9.0)
    semantic[ROAD, :, :6], semantic[HOUSE, :, 6:] = 9.0, 9.0
    nobody = make_instances(torch.zeros(0, 4, 8), [], [])
    for size in ((16, 32), (32, 64)):
        panoptic, segments = _fusion(stuff_area=fraction)(semantic, nobody, size)
        _check_consistency(panoptic, segments)
        house = _category_map(panoptic, segments)[:, 3 * size[1] // 4 :]
        assert (house == (HOUSE if kept else -1)).all()
        assert [s["category_id"] for s in segments] == ([ROAD, HOUSE] if kept else [ROAD])


def test_small_things_stay(make_instances: MakeInstances) -> None:
    semantic = _semantic(8, 8)
    semantic[CAR, 3, 3] = 6.0
    maps = _blob(8, 8, slice(3, 4), slice(3, 4))[None]
    fusion = _fusion(stuff_area=0.5)
    _, segments = fusion(semantic, make_instances(maps, [0.9], [0]), (32, 32))
    assert segments[0]["isthing"] and segments[0]["area"] < 64


def test_score_of_stuff_is_its_mean_probability(make_instances: MakeInstances) -> None:
    semantic = torch.zeros(4, 2, 4)
    semantic[ROAD, :, :2], semantic[ROAD, :, 2:] = 1.0, 3.0
    nobody = make_instances(torch.zeros(0, 2, 4), [], [])
    _, segments = _fusion()(semantic, nobody, (8, 16))
    expected = (math.e / (math.e + 3) + math.e**3 / (math.e**3 + 3)) / 2
    assert segments[0]["score"] == pytest.approx(expected)


def test_no_instances_is_the_semantic_argmax(make_instances: MakeInstances) -> None:
    torch.manual_seed(0)
    semantic = 4 * torch.randn(4, 5, 7)
    nobody = make_instances(torch.zeros(0, 5, 7), [], [])
    panoptic, segments = _fusion()(semantic, nobody, (20, 28))
    _check_consistency(panoptic, segments)
    full = F.interpolate(semantic[None], scale_factor=4, mode="bilinear", align_corners=False)[0]
    expected = full.argmax(0)
    expected[expected >= CAR] = -1
    agreement = (_category_map(panoptic, segments) == expected).float().mean()
    assert agreement > 0.95  # where a third class wins between the points they may differ


@pytest.mark.parametrize("output_size", [(16, 24), (37, 50), (64, 96)])
def test_any_output_size(make_instances: MakeInstances, output_size: Tuple[int, int]) -> None:
    """A 30 x 45 px image: the map covers 32 x 48, the rest of it is padding."""
    semantic = _semantic(8, 12)
    semantic[CAR, 2:6, 3:9], semantic[ROAD, 2:6, 3:9] = 2.0, -2.0
    car = make_instances(_blob(8, 12, slice(2, 6), slice(3, 9))[None], [0.9], [0], (30, 45))
    panoptic, segments = _fusion()(semantic, car, output_size)
    _check_consistency(panoptic, segments)
    assert panoptic.shape == output_size
    # The object covers pixels 8 .. 24 of 30 rows and 12 .. 36 of 45 columns, and a little more.
    rows, columns = (panoptic == 1).nonzero(as_tuple=True)
    tolerance = 1 + 2 * max(output_size[0] / 30, output_size[1] / 45)
    assert int(rows.min()) == pytest.approx(8 / 30 * output_size[0], abs=tolerance)
    assert int(rows.max()) + 1 == pytest.approx(24 / 30 * output_size[0], abs=tolerance)
    assert int(columns.min()) == pytest.approx(12 / 45 * output_size[1], abs=tolerance)
    assert int(columns.max()) + 1 == pytest.approx(36 / 45 * output_size[1], abs=tolerance)


@pytest.mark.parametrize("void", [True, False])
def test_things_only_one_instance_does_not_fill_the_image(
    make_instances: MakeInstances, void: bool
) -> None:
    """Without a stuff class an instance still needs a vote of its own; the rest is void."""
    space = PanopticLabelSpace({1: 0, 2: 1}, {})
    semantic = _semantic(16, 16, 0, num_classes=2)
    cell = _blob(16, 16, slice(4, 8), slice(4, 8))[None]
    fusion = _fusion(space, void_unclaimed_things=void)
    panoptic, segments = fusion(semantic, make_instances(cell, [0.9], [0]), (64, 64))
    _check_consistency(panoptic, segments)
    assert [s["category_id"] for s in segments] == [0]
    assert (panoptic[20:28, 20:28] == 1).all()
    assert segments[0]["area"] < 24 * 24
    assert not panoptic[:8].any() and not panoptic[:, 40:].any()


@pytest.mark.parametrize("void", [True, False])
def test_things_only_without_instances(make_instances: MakeInstances, void: bool) -> None:
    space = PanopticLabelSpace({1: 0, 2: 1}, {})
    nobody = make_instances(torch.zeros(0, 4, 4), [], [])
    fusion = _fusion(space, void_unclaimed_things=void)
    panoptic, segments = fusion(_semantic(4, 4, 0, num_classes=2), nobody, (16, 16))
    assert segments == [] and panoptic.dtype == torch.int32
    assert torch.equal(panoptic, torch.zeros(16, 16, dtype=torch.int32))


@pytest.mark.parametrize("void", [True, False])
def test_stuff_only(make_instances: MakeInstances, void: bool) -> None:
    space = PanopticLabelSpace({}, {7: 0, 11: 1})
    semantic = _semantic(4, 8, 0, num_classes=2)
    semantic[1, :, 4:], semantic[0, :, 4:] = 2.0, -2.0
    nobody = make_instances(torch.zeros(0, 4, 8), [], [])
    fusion = _fusion(space, void_unclaimed_things=void)
    panoptic, segments = fusion(semantic, nobody, (16, 32))
    _check_consistency(panoptic, segments)
    assert [(s["category_id"], s["isthing"]) for s in segments] == [(0, False), (1, False)]
    assert (panoptic[:, :16] == 1).all() and (panoptic[:, 16:] == 2).all()


def test_half_precision(make_instances: MakeInstances) -> None:
    semantic = _semantic(8, 8)
    maps = _blob(8, 8, slice(2, 6), slice(2, 6))[None]
    semantic[CAR, 2:6, 2:6] = 4.0
    expected, _ = _fusion()(semantic, make_instances(maps, [0.9], [0]), (32, 32))
    half = make_instances(maps.bfloat16(), [0.9], [0])
    panoptic, _ = _fusion()(semantic.bfloat16(), half, (32, 32))
    assert torch.equal(panoptic, expected)


def test_from_config() -> None:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    node = cfg.MODEL.PANOPTIC_FUSION
    node.SCORE_THRESH, node.OVERLAP_THRESH, node.STUFF_AREA_FRACTION = 0.3, 0.4, 0.01
    node.INSTANCE_LOGIT_SCALE, node.VOID_UNCLAIMED_THINGS = 4.0, False
    fusion = build_panoptic_fusion(cfg, STREET)
    assert isinstance(fusion, AdaptiveFusion)
    assert fusion.thresholds == FusionThresholds(score=0.3, overlap=0.4, stuff_area=0.01)
    assert fusion.instance_logit_scale == 4.0 and not fusion.void_unclaimed_things
    assert not list(fusion.parameters())
