"""Objects of sizes that no level learns are told of."""

import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from detectron2.structures import Boxes, Instances

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


def test_images_are_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    class Images:
        records = range(40)
        alive: Any = weakref.WeakSet()
        most = 0

        def __getitem__(self, sample: Any) -> Any:
            image = torch.zeros(1)
            self.alive.add(image)
            self.most = max(self.most, len(self.alive))
            boxes = Boxes(torch.tensor([[0.0, 0.0, 9.0, 4.0]]))
            return {"image": image, "instances": Instances((9, 9), gt_boxes=boxes)}

    images: Any = Images()
    tell_of_unlearned_sizes(images, [(7, 10)], 0)
    assert images.most <= 2
    assert "100.0 % of the objects in 16 training images" in caplog.text


def test_no_image(caplog: pytest.LogCaptureFixture) -> None:
    images: Any = SimpleNamespace(records=[])
    tell_of_unlearned_sizes(images, [(7, 10)], 0)
    assert not caplog.records
