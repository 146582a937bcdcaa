"""What is said of a network's parts that do not fit."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from detectron2.utils.registry import Registry

from effps_solo.modeling.checks import check_class_counts, check_logits, check_losses, registered
from effps_solo.modeling.instance_head.solov2.dynamic_masks import DynamicMasks
from effps_solo.modeling.instance_head.solov2.targets import GridTargets
from effps_solo.modeling.instance_head.solov2.training import mask_losses
from effps_solo.structures.label_space import PanopticLabelSpace
from effps_solo.utils.errors import ConfigError

SPACE = PanopticLabelSpace({5: 1}, {3: 0, 4: 2})


def test_an_unknown_name_says_where_own_parts_come_from() -> None:
    registry = Registry("HEADS")
    registry.register(dict)
    assert registered(registry, "MODEL.NAME", "dict") is dict
    with pytest.raises(ConfigError, match=r"MODEL.NAME is 'MyHead'; .*\['dict'\].*DETECTRON2_ENV"):
        registered(registry, "MODEL.NAME", "MyHead")


@pytest.mark.parametrize(
    "semantic, instance, message",
    [
        (SimpleNamespace(num_classes=4), SimpleNamespace(num_classes=1), "is 4 .*has 3 classes"),
        (SimpleNamespace(num_classes=3), SimpleNamespace(), "has no attribute num_classes"),
        (None, SimpleNamespace(num_classes=2), "INSTANCE_HEAD.* is 2 .*has 1 thing classes"),
    ],
)
def test_class_counts(semantic: Any, instance: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_class_counts(semantic, instance, SPACE)


def test_class_counts_that_fit() -> None:
    check_class_counts(SimpleNamespace(num_classes=3), SimpleNamespace(num_classes=1), SPACE)  # type: ignore[arg-type]


def test_logits_at_another_stride_are_told() -> None:
    head = SimpleNamespace(num_classes=3)
    check_logits(head, torch.zeros(2, 3, 8, 16), (32, 64))
    with pytest.raises(ValueError, match=r"gave logits of \(2, 3, 4, 8\).*\(N, 3, 8, 16\)"):
        check_logits(head, torch.zeros(2, 3, 4, 8), (32, 64))


def test_losses_are_scalars() -> None:
    check_losses({})
    check_losses({"loss_a": torch.tensor(1.0)})
    with pytest.raises(ValueError, match=r"'loss_a' is no scalar but \(2, 3\)"):
        check_losses({"loss_a": torch.zeros(2, 3)})
    with pytest.raises(ValueError, match="'loss_a' is no scalar but float"):
        check_losses({"loss_a": 1.0})


@pytest.mark.parametrize("shape", [(), (2, 3, 4)])
def test_a_mask_loss_gives_one_number_for_each_mask(shape: Any) -> None:
    masks = DynamicMasks(torch.ones(5, 6), torch.ones(3, 4, 6))
    targets = GridTargets(torch.zeros(5).long(), torch.tensor([1, 3]), torch.tensor([0, 0]))
    both, truth = torch.ones(2, dtype=torch.bool), torch.ones(1, 3, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="for 2 masks; it gives one number for each"):
        mask_losses(masks, targets, both, truth, None, lambda a, b: torch.zeros(shape), chunk=0)
    found = mask_losses(masks, targets, both, truth, None, lambda a, b: a.sum(dim=(1, 2)), chunk=0)
    assert found.tolist() == [[72], [72]]  # 6 channels, 12 points
