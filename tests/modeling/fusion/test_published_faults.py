"""Faults of the released fusion on cases worked out by hand, and what the fusion here does there.

``published`` re-states the released steps at full resolution from their description. Label space:
stuff 0 (road) and 1 (house), things 2 (car) and 3 (person).
"""

from typing import Any, Callable, Dict, List, Sequence, Tuple

import pytest
import torch
import torch.nn.functional as F
from detectron2.structures import Instances
from torch import nn

from effps_solo import EfficientPS
from effps_solo.modeling.fusion import AdaptiveFusion, FusionThresholds
from effps_solo.structures.label_space import PanopticLabelSpace

ROAD, HOUSE, CAR, PERSON = 0, 1, 2, 3
NUM_STUFF = 2
VOID = -1
REACH = 4  # pixels from a stride-4 point to the next
STREET = PanopticLabelSpace({26: CAR, 24: PERSON}, {7: ROAD, 11: HOUSE})
ANY_STUFF = FusionThresholds(stuff_area=0.0)
MakeInstances = Callable[..., Instances]
Size = Tuple[int, int]


def published(
    semantic: torch.Tensor, instances: Instances, size: Size, *, carved_votes: bool = False
) -> torch.Tensor:
    """The released fusion.

    Args:
        semantic: (C, h4, w4) with padding.
        instances: with stride-4 maps.
        size: of the image that the network saw, without padding.
        carved_votes: where a better mask lies a worse one has no vote; not so in the released code.

    Returns:
        (H, W) 1000 * category + number of the instance, 0 for stuff; -1 for void.
    """
    semantic = _upsampled(semantic)
    semantic = F.interpolate(semantic[None], size=size, mode="bilinear", align_corners=False)[0]
    occupied, votes, classes = torch.zeros(size, dtype=torch.bool), [], []
    for k in sorted(range(len(instances)), key=lambda k: -float(instances.scores[k])):
        box = instances.pred_boxes.tensor[k].tolist()
        logits = _sampled_in_its_box(instances.mask_source.maps[k], box, size)
        mask = logits.sigmoid() > 0.5
        overlap = mask & occupied
        if instances.scores[k] <= 0.5 or int(overlap.sum()) / int(mask.sum()) > 0.5:
            continue
        category = NUM_STUFF + int(instances.thing_index[k])
        rows = slice(max(int(box[1] + 1), 0), min(int(round(box[3] - 1) + 1), size[0]))
        columns = slice(max(int(box[0] + 1), 0), min(int(round(box[2] - 1) + 1), size[1]))
        a, b = 4 * logits, torch.zeros(size)
        b[rows, columns] = semantic[category, rows, columns]
        vote = (a.sigmoid() + b.sigmoid()) * (a + b)
        votes.append(vote.masked_fill(occupied, -float("inf")) if carved_votes else vote)
        classes.append(category)
        occupied |= mask & ~overlap  # the carved mask, of which nothing else is made
    winner = torch.cat([semantic[:NUM_STUFF], torch.stack([*votes, torch.zeros(size)])[:-1]])
    number = (winner.argmax(0) - (NUM_STUFF - 1)).clamp(min=0)
    present = number.unique()
    compact = torch.zeros(size, dtype=torch.int64)
    for index, old in enumerate(present.tolist()):
        compact[number == old] = index

    stuff = semantic.argmax(0)
    stuff[(compact > 0) | (stuff >= NUM_STUFF)] = VOID
    result = torch.where(stuff == VOID, VOID, 1000 * stuff)
    for index, old in enumerate(present.tolist()):
        if index > 0:
            result[compact == index] = 1000 * classes[old - 1] + old
    return result


def _upsampled(maps: torch.Tensor) -> torch.Tensor:
    return F.interpolate(maps[None], scale_factor=4, mode="bilinear", align_corners=False)[0]


def _sampled_in_its_box(logits: torch.Tensor, box: Sequence[float], size: Size) -> torch.Tensor:
    """(H, W): zeros outside the box."""
    full = _upsampled(logits[None])[0, : size[0], : size[1]]
    inside = torch.zeros(size)
    x0, y0, x1, y1 = (int(edge) for edge in box)
    inside[y0:y1, x0:x1] = full[y0:y1, x0:x1]
    return inside


def ours(semantic: torch.Tensor, instances: Instances, size: Size, **kwargs: Any) -> torch.Tensor:
    """The default fusion's map in the code of ``published``."""
    fusion = AdaptiveFusion(label_space=STREET, thresholds=ANY_STUFF, **kwargs)
    return _coded(*fusion(semantic, instances, size))


def _coded(panoptic: torch.Tensor, segments: List[Dict[str, Any]]) -> torch.Tensor:
    result = torch.full(panoptic.shape, VOID)
    for segment in segments:  # things come first, so their ids are their numbers
        code = 1000 * segment["category_id"] + segment["id"] * segment["isthing"]
        result[panoptic == segment["id"]] = code
    return result


def _semantic(height: int, width: int, winner: int = ROAD) -> torch.Tensor:
    """Logit 2 for one class, -2 for the others."""
    logits = torch.full((4, height, width), -2.0)
    logits[winner] = 2.0
    return logits


def _blob(height: int, width: int, rows: slice, columns: slice) -> torch.Tensor:
    mask = torch.full((height, width), -6.0)
    mask[rows, columns] = 6.0
    return mask


def test_logits_leak_outside_the_box(make_instances: MakeInstances) -> None:
    """Far from its box a car has the vote 0 as published, which beats stuff logits below 0."""
    semantic = _semantic(20, 40)
    semantic[CAR, 4:8, 4:8], semantic[ROAD, 4:8, 4:8] = 2.0, -2.0
    semantic[:, 5:15, 25:35], semantic[PERSON, 5:15, 25:35] = -5.0, 3.0  # nobody detected it
    car = make_instances(_blob(20, 40, slice(4, 8), slice(4, 8))[None], [0.9], [0])
    size, person = (80, 160), (slice(24, 56), slice(104, 136))
    assert (published(semantic, car, size)[person] == 1000 * CAR + 1).all()
    # The same logits, all of them 10 higher: softmax and the other steps see no difference.
    assert (published(semantic + 10, car, size)[person] == VOID).all()
    for offset in (0, 10, -20):
        result = ours(semantic + offset, car, size)
        assert (result[person] == VOID).all()
        assert (result[:, 40:90] == 1000 * ROAD).all()
    assert (ours(semantic, car, size)[20:28, 20:28] == 1000 * CAR + 1).all()
    # Without void it is the best class of stuff.
    filled = ours(semantic, car, size, void_unclaimed_things=False)[person]
    assert (filled == 1000 * ROAD).all() or (filled == 1000 * HOUSE).all()


def test_an_instance_swallows_its_undetected_neighbour(make_instances: MakeInstances) -> None:
    """In a gap of a car that mask and semantic head both refuse, the published vote is near 0."""
    semantic = torch.full((4, 6, 9), -10.0)
    semantic[CAR, :, :6], semantic[ROAD, :, 6:] = 10.0, 10.0
    semantic[CAR, 2:4, 2:4], semantic[PERSON, 2:4, 2:4] = -10.0, 10.0
    mask = _blob(6, 9, slice(0, 6), slice(0, 6))
    mask[2:4, 2:4] = -6.0
    car, gap = make_instances(mask[None], [0.9], [0]), (slice(9, 15), slice(9, 15))
    assert (published(semantic, car, (24, 36))[gap] == 1000 * CAR + 1).all()
    result = ours(semantic, car, (24, 36))
    void = result == VOID
    assert void[gap].all() and not void[:8].any() and not void[:, 16:].any()
    assert (result[:, :24][~void[:, :24]] == 1000 * CAR + 1).all()


def test_the_first_instance_loses_its_id(make_instances: MakeInstances) -> None:
    """Two cars fill the image: as published the first has the number of "no instance".

    The semantic head takes half of it for road, which overwrites it; the other half is void.
    """
    semantic = _semantic(4, 8, CAR)
    semantic[ROAD, :, :2] = 4.0
    maps = torch.stack([_blob(4, 8, slice(0, 4), slice(k, k + 4)) for k in (0, 4)])
    cars = make_instances(maps, [0.9, 0.8], [0, 0])
    result = published(semantic, cars, (16, 32))
    assert (result[:, :7] == 1000 * ROAD).all() and (result[:, 10:16] == VOID).all()
    assert (result[:, 16:] == 1000 * CAR + 2).all()
    result = ours(semantic, cars, (16, 32))
    assert (result[:, :16] == 1000 * CAR + 1).all() and (result[:, 16:] == 1000 * CAR + 2).all()
    # A single pixel of stuff, and the published fusion does not lose it.
    semantic[:, 0, 0] = -9.0
    semantic[ROAD, 0, 0] = 60.0
    assert (published(semantic, cars, (16, 32))[8:, :16] == 1000 * CAR + 1).all()


class _Fixed(nn.Module):
    """Stands for any part of a model: answers with what it was made of."""

    size_divisibility = 32

    def __init__(self, answer: Any, num_classes: int = 0) -> None:
        super().__init__()
        self.answer, self.num_classes = answer, num_classes

    def forward(self, *_: Any, **__: Any) -> Any:
        return self.answer

    inference = forward


def test_padded_logits_are_squeezed(make_instances: MakeInstances) -> None:
    """An image of 48 rows, padded to 64: as published the map shrinks to 48 with its padding.

    House above and road below row 24; squeezed by 3/4 the border comes to lie in row 18, and the
    semantic car no more where the mask is.
    """
    size = (48, 64)
    semantic = _semantic(16, 16, HOUSE)
    semantic[ROAD, 6:], semantic[HOUSE, 6:] = 2.0, -2.0
    nobody = make_instances(torch.zeros(0, 12, 16), [], [], size)
    result = published(semantic, nobody, size)
    assert (result[:18] == 1000 * HOUSE).all() and (result[18:] == 1000 * ROAD).all()
    model = EfficientPS(
        backbone=_Fixed({}),  # type: ignore[arg-type]
        sem_seg_head=_Fixed(semantic[None], STREET.num_classes),
        instance_head=_Fixed([nobody], STREET.num_things),  # type: ignore[arg-type]
        fusion=AdaptiveFusion(label_space=STREET, thresholds=ANY_STUFF),
        label_space=STREET,
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
    ).eval()
    output = model([{"image": torch.zeros(3, *size)}])[0]
    result = _coded(*output["panoptic_seg"])
    assert (result[:24] == 1000 * HOUSE).all() and (result[24:] == 1000 * ROAD).all()
    assert torch.equal(output["sem_seg"].argmax(0), result // 1000)


def test_carved_masks_are_for_the_overlap_test_alone(make_instances: MakeInstances) -> None:
    """Two cars share two columns, the worse one is surer there: the larger vote wins, no carving.

    The released code carves the mask of the worse one, but makes no votes of the carved mask; so it
    is in the paper and here. To carve the votes, too, would give the columns to the better score.
    """
    semantic = _semantic(2, 12, CAR)
    semantic[CAR, :, 9:], semantic[ROAD, :, 9:] = -2.0, 2.0
    maps = torch.full((2, 2, 12), -6.0)
    maps[0, :, :5], maps[1, :, 3:9] = 1.0, 5.0
    cars, size, shared = make_instances(maps, [0.9, 0.8], [0, 0]), (8, 48), slice(14, 18)
    assert (published(semantic, cars, size)[:, shared] == 1000 * CAR + 2).all()
    assert (ours(semantic, cars, size)[:, shared] == 1000 * CAR + 2).all()
    carved = published(semantic, cars, size, carved_votes=True)
    assert (carved[:, shared] == 1000 * CAR + 1).all()


def _scene(make_instances: MakeInstances) -> Tuple[torch.Tensor, Instances]:
    """Smooth logits with stuff above 0 everywhere, where no fault shows; five round objects."""

    def smooth(count: int) -> torch.Tensor:
        coarse = torch.randn(1, count, 7, 9)
        return F.interpolate(coarse, size=(20, 28), mode="bicubic", align_corners=True)[0]

    semantic = 4 * smooth(4)
    semantic += (3 - semantic[:NUM_STUFF].amax(0)).clamp(min=0)
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(28.0), indexing="ij")
    maps = []
    for _ in range(5):
        center, radius = torch.rand(2) * torch.tensor([19.0, 27.0]), 3 + 3 * torch.rand(1)
        maps.append(3 * (radius - ((y - center[0]) ** 2 + (x - center[1]) ** 2).sqrt()))
    scores = (0.3 + 0.7 * torch.rand(5)).tolist()
    return semantic, make_instances(torch.stack(maps), scores, torch.randint(0, 2, (5,)).tolist())


@pytest.mark.parametrize("seed", range(8))
def test_the_released_mode_equals_the_published_where_no_fault_shows(
    make_instances: MakeInstances, seed: int
) -> None:
    """INSTANCE_LOGIT_SCALE 4 and void for unclaimed things: the same but for pixels at borders."""
    torch.manual_seed(seed)
    semantic, instances = _scene(make_instances)
    size = (80, 112)
    theirs = published(semantic, instances, size)
    result = ours(semantic, instances, size, instance_logit_scale=4.0)
    assert len((theirs % 1000).unique()) > 2 and (theirs == VOID).any()
    # Numbers count all that pass the overlap test there, those that hold a pixel here.
    numbers = [code for code in theirs.unique().tolist() if code >= 0 and code % 1000]
    for rank, code in enumerate(sorted(numbers, key=lambda code: code % 1000), 1):
        theirs[theirs == code] = code // 1000 * 1000 + rank
    different = theirs != result
    assert different.float().mean() < 0.02
    codes = F.pad(theirs[None, None].float(), (REACH,) * 4, mode="replicate")
    around = F.unfold(codes, 2 * REACH + 1).unflatten(2, size)[0]
    assert (around != theirs).any(0)[different].all()
