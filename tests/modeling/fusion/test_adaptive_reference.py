"""Adaptive fusion against a slow reference: the paper's steps, one pixel after the other."""

import math
from typing import Any, Callable, Dict, List

import pytest
import torch
import torch.nn.functional as F
from detectron2.structures import Instances

from effps_solo.modeling.fusion import AdaptiveFusion, FusionThresholds
from effps_solo.structures.label_space import PanopticLabelSpace

MakeInstances = Callable[..., Instances]


def _upsample(maps: torch.Tensor) -> torch.Tensor:
    return F.interpolate(maps[None], scale_factor=4, mode="bilinear", align_corners=False)[0]


def _corner_argmax(points: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Best channel of every pixel among the winners at the four points around it."""
    _, height, width = points.shape
    winner = points.argmax(0)
    result = torch.zeros(4 * height, 4 * width, dtype=torch.int64)
    for y in range(4 * height):
        for x in range(4 * width):
            rows = {min(max((y - 2) // 4 + d, 0), height - 1) for d in (0, 1)}
            columns = {min(max((x - 2) // 4 + d, 0), width - 1) for d in (0, 1)}
            rivals = sorted({int(winner[i, j]) for i in rows for j in columns})
            result[y, x] = max(rivals, key=lambda c: float(pixels[c, y, x]))
    return result


def _fused(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    # Of two "no" the surer one weighs more: the sigmoids are those of the negated logits.
    sign = torch.sign(a + b)
    return ((sign * a).sigmoid() + (sign * b).sigmoid()) * (a + b)


def _reference(
    semantic: torch.Tensor,
    instances: Instances,
    label_space: PanopticLabelSpace,
    scale: float,
    stuff_fraction: float,
) -> torch.Tensor:
    """The paper's steps, pixel by pixel: category * 1000 + instance, -1 void."""
    order = sorted(range(len(instances)), key=lambda k: -float(instances.scores[k]))
    order = [k for k in order if float(instances.scores[k]) >= 0.5]
    maps = instances.mask_source.maps
    taken, kept = torch.zeros(maps.shape[1:], dtype=torch.bool), []
    for k in order:
        mask = maps[k] > 0
        if mask.any() and int((mask & taken).sum()) / int(mask.sum()) <= 0.5:
            taken, kept = taken | mask, [*kept, k]

    points = [semantic[c] for c in label_space.stuff_ids]
    pixels = [_upsample(semantic)[c] for c in label_space.stuff_ids]
    labels = [c * 1000 for c in label_space.stuff_ids]
    for number, k in enumerate(kept):
        category = label_space.thing_ids[int(instances.thing_index[k])]
        a, b = scale * maps[k], semantic[category]
        vote = _fused(a, b)
        box = (instances.pred_boxes.tensor[k] / 4).tolist()
        for i in range(vote.shape[0]):
            for j in range(vote.shape[1]):
                near_rows = box[1] - 1 <= i <= box[3]
                near_columns = box[0] - 1 <= j <= box[2]
                if not (near_rows and near_columns):
                    vote[i, j] = -math.inf
        points.append(vote)
        pixels.append(_fused(_upsample(a[None])[0], _upsample(b[None])[0]))
        labels.append(category * 1000 + number + 1)
    result = torch.tensor(labels)[_corner_argmax(torch.stack(points), torch.stack(pixels))]
    sem = _corner_argmax(semantic, _upsample(semantic))
    for y in range(result.shape[0]):
        for x in range(result.shape[1]):
            if int(result[y, x]) % 1000 == 0:
                category = int(sem[y, x])
                result[y, x] = -1 if label_space.is_thing(category) else category * 1000
    for category in label_space.stuff_ids:
        area = int((result == category * 1000).sum())
        if area < stuff_fraction * result.numel():
            result[result == category * 1000] = -1
    return result


def _as_reference(panoptic: torch.Tensor, segments: List[Dict[str, Any]]) -> torch.Tensor:
    """Every thing becomes category * 1000 + its rank among the things of the output."""
    result = torch.full(panoptic.shape, -1)
    number = 0
    for segment in segments:
        number += segment["isthing"]
        code = segment["category_id"] * 1000 + (number if segment["isthing"] else 0)
        result[panoptic == segment["id"]] = code
    return result


def _smooth(count: int, height: int, width: int, strength: float) -> torch.Tensor:
    coarse = torch.randn(1, count, height // 3 + 2, width // 3 + 2)
    size = (height, width)
    return strength * F.interpolate(coarse, size=size, mode="bicubic", align_corners=True)[0]


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize("seed", range(4))
def test_against_the_slow_reference(make_instances: MakeInstances, seed: int, scale: float) -> None:
    """Things between the stuff ids; objects of random place, score and class."""
    torch.manual_seed(seed)
    space = PanopticLabelSpace({1: 1, 2: 2}, {0: 0, 3: 3})
    semantic = _smooth(4, 16, 20, 5.0)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(20.0), indexing="ij")
    maps = []
    for _ in range(5):
        center, radius = torch.rand(2) * torch.tensor([15.0, 19.0]), 2 + 3 * torch.rand(1)
        distance = ((y - center[0]) ** 2 + (x - center[1]) ** 2).sqrt()
        maps.append(3 * (radius - distance))
    scores = (0.3 + 0.7 * torch.rand(5)).sort(descending=True).values.tolist()
    instances = make_instances(torch.stack(maps), scores, torch.randint(0, 2, (5,)).tolist())
    fusion = AdaptiveFusion(
        label_space=space,
        thresholds=FusionThresholds(stuff_area=0.02),
        instance_logit_scale=scale,
    )
    panoptic, segments = fusion(semantic, instances, (64, 80))
    expected = _reference(semantic, instances, space, scale, 0.02)
    actual = _as_reference(panoptic, segments)
    # An instance that holds no pixel has no segment, so ranks may have gaps in the reference.
    ranks = sorted({int(v) % 1000 for v in expected.unique() if v >= 0 and int(v) % 1000})
    for new, old in enumerate(ranks, start=1):
        of_this = (expected >= 0) & (expected % 1000 == old)
        expected[of_this] += new - old
    # Rounding may tip a pixel on a border.
    assert int((actual != expected).sum()) <= 2
