"""Weights for one list of classes become weights for another."""

from typing import Dict, List, Tuple

import pytest
import torch

from effps_solo.checkpoint.class_fitting import (
    fit_to_classes,
    is_reordered,
    same_classes,
    what_was_taken_over,
)
from effps_solo.structures.classes import PanopticClass
from effps_solo.utils.errors import CheckpointError

SEMANTIC = "sem_seg_head.predictor.weight"
CATEGORY = "instance_head.grid_branches.category_predictor.bias"
SCORES = "roi_heads.box_predictor.cls_score.bias"
BOXES = "roi_heads.box_predictor.bbox_pred.weight"


def classes(*names: str) -> Tuple[PanopticClass, ...]:
    """Those in capitals are things."""
    return tuple(
        PanopticClass(name.lower(), name.isupper(), i, (i, i, i)) for i, name in enumerate(names)
    )


def state(**sizes: int) -> Dict[str, torch.Tensor]:
    """The channel i of each layer is filled with its start + i."""
    names = {"semantic": SEMANTIC, "category": CATEGORY, "scores": SCORES, "boxes": BOXES}
    return {
        names[key]: torch.arange(count, dtype=torch.float32)[:, None].repeat(1, 2)
        for key, count in sizes.items()
    }


def column(tensor: torch.Tensor) -> List[float]:
    return tensor[:, 0].tolist()


def test_another_order_by_hand() -> None:
    before, now = classes("road", "CAR", "sky", "BUS"), classes("BUS", "sky", "road", "CAR")
    assert is_reordered(before, now) and not same_classes(before, now)
    theirs = state(semantic=4, category=2, scores=3, boxes=8)
    fitted = fit_to_classes(theirs, {k: -1 - v for k, v in theirs.items()}, (before, now), False)
    assert column(fitted[SEMANTIC]) == [3, 2, 0, 1]
    assert column(fitted[CATEGORY]) == [1, 0]
    assert column(fitted[SCORES]) == [1, 0, 2]  # background stays the last
    assert column(fitted[BOXES]) == [4, 5, 6, 7, 0, 1, 2, 3]


def test_names_that_agree_are_taken_over_and_the_rest_stays() -> None:
    before, now = classes("CAR", "road", "tree"), classes("BUS", "CAR", "road")
    assert not is_reordered(before, now)
    theirs, own = state(semantic=3, category=1), state(semantic=3, category=2)
    own = {name: tensor + 100 for name, tensor in own.items()}
    fitted = fit_to_classes(theirs, own, (before, now), False)
    assert column(fitted[SEMANTIC]) == [100, 0, 1] and column(fitted[CATEGORY]) == [100, 0]
    assert column(own[SEMANTIC]) == [100, 101, 102]
    told = what_was_taken_over(before, now)
    assert told == (
        "2 of 3 classes taken over by name (car, road); initialised anew: bus; left out: tree"
    )


def test_a_thing_is_no_stuff_of_the_same_name() -> None:
    before, now = classes("CAR", "tree"), classes("CAR", "TREE")
    assert not is_reordered(before, now)
    own = {name: tensor - 9 for name, tensor in state(semantic=2, category=2).items()}
    fitted = fit_to_classes(state(semantic=2, category=1), own, (before, now), False)
    assert column(fitted[SEMANTIC]) == [0, -8] and column(fitted[CATEGORY]) == [0, -8]


def test_no_class_in_common() -> None:
    before, now = classes("CAR"), classes("nucleus", "CELL")
    own = state(semantic=2, category=1)
    fitted = fit_to_classes(
        {k: v - 5 for k, v in state(semantic=1, category=1).items()}, own, (before, now), False
    )
    assert all(torch.equal(fitted[name], own[name]) for name in own)
    assert what_was_taken_over(before, now).startswith("0 of 2 classes taken over by name (none)")


def test_one_channel_for_all_things() -> None:
    before, now = classes("CAR", "road", "sky"), classes("BUS", "CAR", "sky", "road")
    own = {SEMANTIC: state(semantic=3)[SEMANTIC] + 100}
    fitted = fit_to_classes(state(semantic=3), own, (before, now), True)
    assert column(fitted[SEMANTIC]) == [0, 2, 1]


def test_layers_that_all_classes_share_stay_as_they_are() -> None:
    before, now = classes("CAR", "BUS", "x"), classes("BUS", "CAR", "x")
    theirs = state(scores=3, boxes=4)
    assert fit_to_classes(theirs, theirs, (before, now), False).keys() == {SCORES}


def test_layers_of_another_network_are_left_to_the_loader() -> None:
    before, now = classes("CAR", "x"), classes("x", "CAR")
    own = {SEMANTIC: torch.zeros(2, 7)}
    assert fit_to_classes(state(semantic=2), own, (before, now), False) == {}
    assert fit_to_classes({}, own, (before, now), False) == {}


def test_a_head_of_a_users_own() -> None:
    own = {"sem_seg_head.classify.weight": torch.zeros(2, 2)}
    with pytest.raises(
        CheckpointError,
        match=r"no layer of the model's sem_seg_head is known .*2 classes \(things car; stuff x\), the "
        r"data 1 classes \(stuff x\)",
    ):
        fit_to_classes(own, own, (classes("CAR", "x"), classes("x")), False)
