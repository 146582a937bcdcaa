"""Objects of sizes that no level learns are told of."""

from pathlib import Path

import pytest
import torch

from effps_solo.config import load_config
from effps_solo.data.build import build_train_loader
from effps_solo.engine.object_sizes import share_outside, tell_of_unlearned_sizes


def test_worked_by_hand() -> None:
    boxes = torch.tensor([[0, 0, 4, 9], [5, 5, 15, 15], [0, 0, 40, 10], [1, 1, 2, 2]]).float()
    assert share_outside(boxes, [(6, 10), (10, 20)]) == 0.25  # sizes 6, 10, 20 and 1
    assert share_outside(boxes, [(7, 10)]) == 0.75
    assert share_outside(boxes[:0], [(7, 10)]) == 0


def test_told_at_the_start_of_a_training(
    tiny_config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = build_train_loader(load_config(str(tiny_config))).dataset
    caplog.clear()  # what the loader tells
    tell_of_unlearned_sizes(dataset, [(1, 1000)], 0)
    assert not caplog.records
    # Objects of 28 x 36, 36 x 32, 52 x 28 and 28 x 40 pixels.
    tell_of_unlearned_sizes(dataset, [(1, 32)], 0)
    assert "75.0 % of the objects in 2 training images" in caplog.text
