"""Instances for the tests of the fusions."""

from typing import Callable, Sequence

import pytest
import torch
from detectron2.structures import Boxes, Instances

from effps_solo.modeling.instance_head import Stride4Masks

MakeInstances = Callable[..., Instances]


def _tight_box(mask: torch.Tensor) -> list:
    """XYXY in pixels of the cells of a stride-4 mask."""
    if not mask.any():
        return [0, 0, 0, 0]
    rows, columns = mask.nonzero(as_tuple=True)
    corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return [4 * int(c) for c in corners]


@pytest.fixture
def make_instances() -> MakeInstances:
    def make(
        maps: torch.Tensor,
        scores: Sequence[float],
        thing_index: Sequence[int],
        image_size: tuple = (),
    ) -> Instances:
        """An instance head's result with the logit maps (K, h, w): best first, in whatever order given."""
        order = sorted(range(len(scores)), key=lambda k: -scores[k])
        maps, scores = maps[order], [scores[k] for k in order]
        thing_index = [thing_index[k] for k in order]
        size = tuple(image_size) or (4 * maps.shape[1], 4 * maps.shape[2])
        instances = Instances(size)
        instances.scores = torch.tensor(scores, dtype=torch.float32)
        instances.thing_index = torch.tensor(thing_index, dtype=torch.int64)
        boxes = [_tight_box(m > 0) for m in maps]
        instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
        instances.pred_boxes.clip(size)
        instances.mask_source = Stride4Masks(maps)
        return instances

    return make
