"""The steps that all fusions share, and the registry."""

from typing import Any, Callable, List, Optional

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import get_cfg
from detectron2.structures import Instances

from effps_solo import add_effps_solo_config
from effps_solo.modeling.fusion import (
    AdaptiveFusion,
    FusionThresholds,
    HeuristicFusion,
    PanopticFusion,
    build_panoptic_fusion,
)
from effps_solo.modeling.fusion.segments import segments_info
from effps_solo.modeling.pixel_labels import LabelMap
from effps_solo.structures.label_space import PanopticLabelSpace

# Cityscapes' order: stuff 0 .. 10, things 11 .. 18.
STREET = PanopticLabelSpace({i: i for i in range(11, 19)}, {i: i for i in range(11)})
MakeInstances = Callable[..., Instances]


def _fusion(**kwargs: Any) -> HeuristicFusion:
    return HeuristicFusion(label_space=STREET, **kwargs)


def test_is_abstract() -> None:
    with pytest.raises(TypeError):
        PanopticFusion(label_space=STREET)  # type: ignore[abstract]


def test_assemble_worked_by_hand() -> None:
    a, b, void = 0, 2, 3 + 19  # two instances of three
    stuff_0, stuff_2, stuff_4, thing_13 = 3 + 0, 3 + 2, 3 + 4, 3 + 13
    code = torch.tensor(
        [[a, a, b, b], [stuff_4, stuff_4, b, b], [stuff_4, thing_13, void, stuff_2]]
    )
    scores, thing_index = torch.tensor([0.9, 0.8, 0.7]), torch.tensor([2, 0, 7])
    fusion = _fusion()
    panoptic, table = fusion.assemble(LabelMap(code), scores, thing_index, torch.ones(19), 2 / 12)
    segments = segments_info(table)
    assert int(table.areas[stuff_0]) == 0 and int(table.areas[thing_13]) == 1
    # The second instance holds nothing; class 2 is too small; 13 is a thing nobody holds.
    assert panoptic.tolist() == [[1, 1, 2, 2], [3, 3, 2, 2], [3, 0, 0, 0]]
    assert [(s["id"], s["category_id"], s["isthing"], s["area"]) for s in segments] == [
        (1, 13, True, 2),
        (2, 18, True, 4),
        (3, 4, False, 3),
    ]
    assert [s["score"] for s in segments[:2]] == pytest.approx([0.9, 0.7])


@pytest.mark.parametrize("fusion_type", [AdaptiveFusion, HeuristicFusion])
def test_thresholds_of_a_call_take_the_place_of_the_fusions_own(
    make_instances: MakeInstances, fusion_type: type
) -> None:
    """Three objects over a quarter of the map each; the last quarter is road, which a fourth object, over the
    first one else, reaches into."""
    maps = torch.full((4, 4, 16), -6.0)
    for mask, columns in zip(maps, (slice(0, 4), slice(4, 8), slice(8, 12), slice(0, 4))):
        mask[:, columns] = 6.0
    maps[3, :, 12] = 6.0
    instances = make_instances(maps, [0.9, 0.6, 0.5, 0.2], [2, 0, 3, 1])
    semantic = torch.zeros(19, 4, 16)
    semantic[13, :, :12] = semantic[0, :, 12:] = 1.0

    def found(own: FusionThresholds, of_call: Optional[FusionThresholds]) -> List[Any]:
        fusion = fusion_type(label_space=STREET, thresholds=own)
        _, segments = fusion(semantic, instances, (16, 64), of_call)
        return [round(s["score"], 3) if s["isthing"] else "road" for s in segments]

    default, strict = FusionThresholds(), FusionThresholds(score=0.95, stuff_area=0.3)
    assert (default.score, default.overlap) == (0.5, 0.5)
    assert found(default, None) == found(strict, default) == [0.9, 0.6, 0.5, "road"]
    assert found(strict, None) == found(default, strict) == []
    # Four of the five columns of the last object are taken.
    for overlap, last in ((0.79, []), (0.8, [0.2])):
        loose = FusionThresholds(score=0.1, overlap=overlap)
        expected = [0.9, 0.6, 0.5, *last, "road"]
        assert found(loose, None) == found(default, loose) == expected


@pytest.mark.parametrize("fusion_type", [AdaptiveFusion, HeuristicFusion])
@pytest.mark.parametrize("void", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_fusions_in_both_forms(
    make_instances: MakeInstances,
    all_at_once: Callable[[], Any],
    fusion_type: type,
    void: bool,
    seed: int,
) -> None:
    """Random smooth masks that overlap, some below the threshold, one empty; and none at all."""
    torch.manual_seed(seed)
    maps = F.interpolate(3 * torch.randn(1, 12, 4, 5), size=(16, 20), mode="bicubic")[0]
    maps[3] = -1.0
    semantic = F.interpolate(4 * torch.randn(1, 19, 4, 5), size=(16, 20), mode="bicubic")[0]
    classes = torch.randint(0, 8, (12,)).tolist()
    instances = make_instances(maps, torch.rand(12).tolist(), classes, (62, 77))
    thresholds = FusionThresholds(score=0.2, overlap=0.6)
    fusion = fusion_type(label_space=STREET, thresholds=thresholds, void_unclaimed_things=void)
    for some in (instances, instances[instances.scores > 2]):
        panoptic, segments = fusion(semantic, some, (70, 50))
        with all_at_once():
            same, same_segments = fusion(semantic, some, (70, 50))
        assert torch.equal(panoptic, same) and panoptic.dtype == same.dtype
        assert segments == same_segments
        assert any(s["isthing"] for s in segments) == bool(len(some))


def test_unknown_name() -> None:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.MODEL.PANOPTIC_FUSION.NAME = "Voting"
    with pytest.raises(ValueError, match="PANOPTIC_FUSION.NAME is 'Voting'.*'AdaptiveFusion'"):
        build_panoptic_fusion(cfg, STREET)
