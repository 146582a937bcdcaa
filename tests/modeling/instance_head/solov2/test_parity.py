"""The published head decodes as published: a slow re-statement with loops over numbers.

The default gives other results on the same input, each for a reason that a test here isolates.
"""

import math
from typing import Any, Callable, Dict, List, Tuple

import pytest
import torch
import torch.nn.functional as F
from detectron2.structures import Instances

from effps_solo.modeling.instance_head import SOLOv2InstanceHead
from effps_solo.modeling.instance_head.solov2.decoding import Decoder
from effps_solo.modeling.instance_head.solov2.dynamic_masks import DynamicMasks
from effps_solo.modeling.instance_head.solov2.published import PublishedDecoder
from effps_solo.modeling.postprocessing import instances_to_output
from effps_solo.structures.label_space import PanopticLabelSpace

GRIDS = [(8, 12), (6, 10), (5, 7), (3, 4), (2, 3)]
STRIDES = [8, 8, 16, 32, 32]
SIZE = (64, 96)
SIZES = [SIZE, (50, 91), (33, 40)]
NUM_CLASSES = 3
SPACE = PanopticLabelSpace({i: i for i in range(NUM_CLASSES)}, {})
Features = Dict[str, torch.Tensor]
MakeHead = Callable[..., SOLOv2InstanceHead]
MakeFeatures = Callable[..., Features]
MaskLogits = Callable[..., torch.Tensor]


@pytest.fixture
def make_full(make_lively: MakeHead) -> MakeHead:
    """The published head with masks of all sizes, empty ones among them."""

    def make(**kwargs: Any) -> SOLOv2InstanceHead:
        head = make_lively(variant="full", **kwargs)
        with torch.no_grad():
            head.grid_branches.kernel_predictor.bias -= 0.2
        return head

    return make


def _published_candidates(head: SOLOv2InstanceHead, scores: torch.Tensor) -> List[tuple]:
    """(score, cell, class, stride) above the threshold: level, row, column, class."""
    found, offset = [], 0
    for (rows, columns), stride in zip(GRIDS, STRIDES):
        level = scores[offset : offset + rows * columns].reshape(rows, columns, -1).tolist()
        for i in range(rows):
            for j in range(columns):
                for label in range(NUM_CLASSES):
                    score = level[i][j][label]
                    before = [(i - 1, j), (i, j - 1), (i - 1, j - 1)]
                    if any(
                        a >= 0 and b >= 0 and level[a][b][label] > score for a, b in before
                    ) or not (score > head.decoder.score_thresh):
                        continue
                    found.append((score, offset + i * columns + j, label, stride))
        offset += rows * columns
    return found


def _published_nms(entries: List[dict]) -> None:
    """Gaussian Matrix NMS of entries in descending order; adds "final" to each."""
    pixels = [set(e["mask"].flatten().nonzero().flatten().tolist()) for e in entries]

    def iou(i: int, j: int) -> float:
        if entries[i]["label"] != entries[j]["label"]:
            return 0.0
        return len(pixels[i] & pixels[j]) / len(pixels[i] | pixels[j])

    worst = [max((iou(k, i) for k in range(i)), default=0.0) for i in range(len(entries))]
    for j, entry in enumerate(entries):
        factors = [math.exp(-2 * iou(i, j) ** 2) / math.exp(-2 * worst[i] ** 2) for i in range(j)]
        entry["final"] = entry["score"] * min([1.0, *factors])


def _published(
    head: SOLOv2InstanceHead, mask_logits: MaskLogits, features: Features, image: int
) -> List[dict]:
    """score ("final"), label and padded probability map of every instance."""
    output = head(features, head.test_cells)
    entries, dropped = [], []
    for score, cell, label, stride in _published_candidates(head, output.category[image].sigmoid()):
        probability = mask_logits(head, output, image, cell).sigmoid()
        mask = probability > 0.5
        area = int(mask.sum())
        if area <= stride:
            dropped.append(area)
        else:
            score *= float((probability.double() * mask).sum()) / area
            entries.append(dict(score=score, label=label, mask=mask, probability=probability))
    assert dropped  # the rule for small masks matters here
    entries.sort(key=lambda e: -e["score"])
    entries = entries[: head.decoder.nms_pre]
    _published_nms(entries)
    entries = [e for e in entries if e["final"] >= 0.05]
    return sorted(entries, key=lambda e: -e["final"])[: head.decoder.max_detections]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("limits", [{}, {"nms_pre": 25, "max_detections": 12}])
def test_decoding_equals_the_published(
    make_full: MakeHead,
    make_features: MakeFeatures,
    mask_logits: MaskLogits,
    seed: int,
    limits: Dict[str, int],
) -> None:
    """A batch of images of different sizes, none but the first a multiple of 32."""
    head = make_full(published=True, **limits)
    features = make_features(3, seed=seed)
    with torch.no_grad():
        results = head.inference(features, SIZES)
        for image, (result, size) in enumerate(zip(results, SIZES)):
            expected = _published(head, mask_logits, features, image)
            assert len(expected) > 10 and result.image_size == size
            assert result.scores.tolist() == pytest.approx([e["final"] for e in expected], abs=1e-6)
            assert result.thing_index.tolist() == [e["label"] for e in expected]
            maps = result.mask_source.maps
            assert all(torch.equal(maps[k] > 0, e["mask"]) for k, e in enumerate(expected))


def _published_masks(entry: dict, size: Tuple[int, int], output: Tuple[int, int]) -> torch.Tensor:
    """Probabilities x4, cut to the image, resized to the output."""
    full = F.interpolate(
        entry["probability"][None, None], scale_factor=4, mode="bilinear", align_corners=False
    )[..., : size[0], : size[1]]
    if output != size:
        full = F.interpolate(full, size=output, mode="bilinear", align_corners=False)
    return full[0, 0] > 0.5


@pytest.mark.parametrize("output", [SIZES[1], (100, 182), (31, 160), (20, 33)])
def test_masks_equal_the_published(
    make_full: MakeHead,
    make_features: MakeFeatures,
    mask_logits: MaskLogits,
    output: Tuple[int, int],
) -> None:
    """Interpolated to the frame of the network, and from there to the output."""
    head = make_full(published=True)
    features = make_features(2)
    with torch.no_grad():
        instances = head.inference(features, SIZES[:2])[1]
        expected = [
            _published_masks(e, SIZES[1], output)
            for e in _published(head, mask_logits, features, 1)
        ]
    whole = [mask for mask in expected if mask.any()]
    result = instances_to_output(instances, output, SPACE)
    assert len(result) == len(whole) > 10
    different = result.pred_masks != torch.stack(whole)
    assert different.float().mean() < 1e-4  # rounding


def _scores(head: SOLOv2InstanceHead, features: Features, size: Tuple[int, int]) -> List[float]:
    with torch.no_grad():
        scores: List[float] = head.inference(features, [size])[0].scores.tolist()
    return scores


@pytest.mark.parametrize(
    "decoder_type, kept", [(PublishedDecoder, [9, 17, 33]), (Decoder, [8, 9, 16, 17, 32, 33])]
)
def test_small_masks(decoder_type: type, kept: List[int]) -> None:
    """As published a mask has more points than the stride of its level."""
    areas, strides = [8, 9, 16, 17, 32, 33], torch.tensor([8, 8, 16, 16, 32, 32])
    maps = torch.full((6, 6, 48), -5.0)
    for k, area in enumerate(areas):
        maps[k].view(-1)[48 * k : 48 * k + area] = 5.0  # in rows of their own
    scores = torch.linspace(0.9, 0.4, 6)[:, None]
    for minimum in (1, 17):
        decoder = decoder_type(min_mask_area=minimum)
        result = decoder(
            scores, DynamicMasks(torch.eye(6), maps.permute(1, 2, 0)), strides, (24, 192)
        )
        found = (result.masks.maps() > 0).flatten(1).sum(1).tolist()
        assert found == [area for area in kept if area >= minimum]


def test_padding(make_full: MakeHead, make_features: MakeFeatures) -> None:
    """As published the padding of a batch counts: a larger neighbour changes an image's scores."""
    features, wide = make_features(1), (40, 40)
    head = make_full(published=True)
    inside, whole = _scores(head, features, wide), _scores(head, features, SIZE)
    assert inside == whole
    head = make_full()
    assert _scores(head, features, wide) != _scores(head, features, SIZE)


def test_the_limit_on_candidates(make_full: MakeHead, make_features: MakeFeatures) -> None:
    """As published it comes after the masks: a sure mask makes up for an unsure class."""
    features, limit = make_features(1), 5
    wide = make_full(published=True, max_detections=1000)
    everything = _scores(wide, features, SIZE)
    kept = _scores(make_full(published=True, nms_pre=limit, max_detections=1000), features, SIZE)
    assert kept[0] == pytest.approx(everything[0]) and len(kept) <= limit
    default = make_full(nms_pre=limit, max_detections=1000)
    assert _scores(default, features, SIZE) != pytest.approx(kept)


def test_every_candidate_may_get_a_mask(make_full: MakeHead, make_features: MakeFeatures) -> None:
    head = make_full(published=True, score_thresh=0.0, max_detections=10**6)
    head.decoder.update_thresh = 0.0
    head.decoder.nms_pre = 600
    with torch.no_grad():
        result: Instances = head.inference(make_features(1), [SIZE])[0]
    assert 100 < len(result) <= 600 and result.scores.isfinite().all()
    head.decoder.score_thresh = 1.0
    with torch.no_grad():
        empty = head.inference(make_features(1), [SIZE])[0]
    assert len(empty) == len(empty.mask_source) == 0
    assert instances_to_output(empty, (50, 70), SPACE).pred_masks.shape == (0, 50, 70)


@pytest.mark.parametrize("cut", [0.2, 0.35])
def test_a_score_cut_changes_nothing_above_it(
    make_full: MakeHead, make_features: MakeFeatures, cut: float
) -> None:
    head = make_full(published=True)
    with torch.no_grad():
        full: Any = head.inference(make_features(), SIZES[:2])
        fast: Any = head.inference(make_features(), SIZES[:2], min_score=cut)
    for a, b in zip(full, fast):
        assert b.scores.tolist() == pytest.approx(a.scores[a.scores >= cut].tolist(), abs=1e-6)
