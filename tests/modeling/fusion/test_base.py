"""The steps that all fusions share, and the registry."""

from typing import Any, Callable

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.structures import Instances

from effps_solo import add_effps_solo_config
from effps_solo.modeling.fusion import HeuristicFusion, PanopticFusion, build_panoptic_fusion
from effps_solo.modeling.fusion.segments import segments_info
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
    fusion = _fusion(stuff_area_fraction=2 / 12)
    panoptic, table = fusion.assemble(code, scores, thing_index, torch.ones(19))
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


def test_confident_instances_are_sorted(make_instances: MakeInstances) -> None:
    instances = make_instances(torch.zeros(4, 1, 1), [0.6, 0.2, 0.9, 0.5], [0, 1, 2, 3])
    assert _fusion(score_thresh=0.5)._confident(instances).tolist() == [2, 0, 3]
    assert len(_fusion(score_thresh=0.95)._confident(instances)) == 0


def test_unknown_name() -> None:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.MODEL.PANOPTIC_FUSION.NAME = "Voting"
    with pytest.raises(ValueError, match="PANOPTIC_FUSION.NAME is 'Voting'.*'AdaptiveFusion'"):
        build_panoptic_fusion(cfg, STREET)
