"""Decoding of the SOLOv2 head against loops, its limits and its score cut."""

import contextlib
import math
from typing import Any, Callable, Dict, List, Tuple

import pytest
import torch
import torch.nn.functional as F
from detectron2.structures import Instances

from effps_solo.modeling.instance_head import SOLOv2InstanceHead
from effps_solo.modeling.instance_head.solov2.decoding import Decoder
from effps_solo.modeling.instance_head.solov2.dynamic_masks import DynamicMasks

GRIDS = [(8, 12), (6, 10), (5, 7), (3, 4), (2, 3)]
SIZE = (64, 96)
NUM_CLASSES = 3
Features = Dict[str, torch.Tensor]
MakeHead = Callable[..., SOLOv2InstanceHead]
MakeFeatures = Callable[..., Features]
MaskLogits = Callable[..., torch.Tensor]


def _points_nms_loop(scores: List[List[float]]) -> List[List[float]]:
    kept = [[0.0] * len(row) for row in scores]
    for i, row in enumerate(scores):
        for j, score in enumerate(row):
            rivals = [scores[a][b] for a in (i - 1, i) for b in (j - 1, j) if a >= 0 and b >= 0]
            kept[i][j] = score if score >= max(rivals) else 0.0
    return kept


def _slow_candidates(head: SOLOv2InstanceHead, output: Any, image: int) -> List[tuple]:
    """(score, cell, class) above the threshold, best first."""
    scores = output.category[image].sigmoid()
    candidates, offset = [], 0
    for rows, columns in GRIDS:
        for label in range(NUM_CLASSES):
            level = scores[offset : offset + rows * columns, label].reshape(rows, columns)
            for i, row in enumerate(_points_nms_loop(level.tolist())):
                for j, score in enumerate(row):
                    if score > head.decoder.score_thresh:
                        candidates.append((score, offset + i * columns + j, label))
        offset += rows * columns
    return sorted(candidates, key=lambda c: (-c[0], c[1], c[2]))[: head.decoder.nms_pre]


def _slow_matrix_nms(entries: List[dict], sigma: float) -> None:
    """Sorts the entries by score and adds "final" to each."""
    entries.sort(key=lambda e: -e["score"])
    pixels = [set(e["mask"].flatten().nonzero().flatten().tolist()) for e in entries]

    def iou(i: int, j: int) -> float:
        if entries[i]["label"] != entries[j]["label"]:
            return 0.0
        return len(pixels[i] & pixels[j]) / len(pixels[i] | pixels[j])

    most = [max((iou(k, i) for k in range(i)), default=0.0) for i in range(len(entries))]
    for j, entry in enumerate(entries):
        factors = [
            math.exp(-sigma * iou(i, j) ** 2) / math.exp(-sigma * most[i] ** 2) for i in range(j)
        ]
        entry["final"] = entry["score"] * min([1.0, *factors])


def _slow_decode(
    head: SOLOv2InstanceHead,
    mask_logits: MaskLogits,
    features: Features,
    image: int,
    size: Tuple[int, int],
) -> List[dict]:
    output = head(features, head.test_cells)
    entries = []
    for score, cell, label in _slow_candidates(head, output, image):
        logits = mask_logits(head, output, image, cell)[: -(-size[0] // 4), : -(-size[1] // 4)]
        mask = logits > 0
        if int(mask.sum()) >= head.decoder.min_mask_area:
            maskness = float(logits.sigmoid()[mask].mean())
            entries.append({"score": score * maskness, "label": label, "mask": mask})
    _slow_matrix_nms(entries, head.decoder.nms_sigma)
    entries = [e for e in entries if e["final"] >= head.decoder.update_thresh]
    return sorted(entries, key=lambda e: -e["final"])[: head.decoder.max_detections]


@pytest.mark.parametrize("size", [SIZE, (50, 91)])
def test_inference_equals_a_plain_restatement(
    lively: SOLOv2InstanceHead,
    size: Tuple[int, int],
    make_features: MakeFeatures,
    mask_logits: MaskLogits,
) -> None:
    features = make_features()
    with torch.no_grad():
        result = lively.inference(features, [SIZE, size])[1]
        expected = _slow_decode(lively, mask_logits, features, 1, size)
    assert len(expected) > 10
    assert result.image_size == size
    assert result.scores.tolist() == pytest.approx([e["final"] for e in expected], abs=1e-6)
    assert result.thing_index.tolist() == [e["label"] for e in expected]
    assert result.thing_index.dtype == torch.int64
    assert ((result.scores >= 0) & (result.scores <= 1)).all()
    masks = result.mask_source.stride4_logits((-(-size[0] // 4), -(-size[1] // 4))) > 0
    for k, entry in enumerate(expected):
        assert torch.equal(masks[k], entry["mask"])
        rows, columns = entry["mask"].nonzero(as_tuple=True)
        box = [4 * columns.min(), 4 * rows.min(), 4 * columns.max() + 4, 4 * rows.max() + 4]
        box = [float(min(edge, limit)) for edge, limit in zip(box, (size[1], size[0]) * 2)]
        assert result.pred_boxes.tensor[k].tolist() == box


def _same(a: Instances, b: Instances) -> None:
    assert a.image_size == b.image_size and len(a) == len(b)
    torch.testing.assert_close(a.scores, b.scores, rtol=1e-4, atol=1e-5)
    assert a.thing_index.tolist() == b.thing_index.tolist()
    assert torch.equal(a.pred_boxes.tensor, b.pred_boxes.tensor)
    torch.testing.assert_close(a.mask_source.maps, b.mask_source.maps, rtol=1e-3, atol=1e-4)


def test_the_score_cut_changes_nothing_above_it(
    lively: SOLOv2InstanceHead, make_features: MakeFeatures
) -> None:
    features = make_features()
    with torch.no_grad():
        everything = lively.inference(features, [SIZE] * 2)
        for cut in (0.0, 0.2, 0.35, 0.5):
            for full, fast in zip(
                everything, lively.inference(features, [SIZE] * 2, min_score=cut)
            ):
                _same(fast, full[full.scores >= cut])
    counts = [int((x.scores >= 0.35).sum()) for x in everything]
    assert 0 < sum(counts) < sum(len(x) for x in everything)


def test_a_batch_equals_single_images(
    lively: SOLOv2InstanceHead, make_features: MakeFeatures
) -> None:
    features, sizes = make_features(3), [SIZE, (40, 70), (63, 33)]
    with torch.no_grad():
        together = lively.inference(features, sizes)
        for i, size in enumerate(sizes):
            alone = lively.inference({n: x[i : i + 1] for n, x in features.items()}, [size])[0]
            _same(together[i], alone)


def test_limits(make_lively: MakeHead, make_features: MakeFeatures) -> None:
    features = make_features(1)
    with torch.no_grad():
        everything = make_lively(max_detections=1000).inference(features, [SIZE])[0]
        few = make_lively(max_detections=4).inference(features, [SIZE])[0]
        nothing = make_lively(score_thresh=0.999).inference(features, [SIZE])[0]
        strict = make_lively(update_thresh=0.3, max_detections=1000).inference(features, [SIZE])[0]
        big = make_lively(min_mask_area=60, max_detections=1000).inference(features, [SIZE])[0]
        three = make_lively(nms_pre=3).inference(features, [SIZE])[0]
    assert len(everything) > 20 and everything.scores.min() >= 0.05
    assert (everything.scores.diff() <= 0).all()
    _same(few, everything[:4])
    _same(strict, everything[everything.scores >= 0.3])
    areas = (big.mask_source.maps > 0).flatten(1).sum(1)
    assert 0 < len(big) < len(everything) and (areas >= 60).all()
    assert 0 < len(three) <= 3
    assert len(nothing) == 0
    assert nothing.pred_boxes.tensor.shape == (0, 4)
    assert nothing.thing_index.dtype == torch.int64
    assert nothing.mask_source.stride4_logits((16, 24)).shape == (0, 16, 24)


@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_equal_masks_that_are_too_small_stay_out(
    kernel: str, all_at_once: Callable[[], Any], as_exported: Callable[[], Any]
) -> None:
    """The linear kernel makes 0 of the score of a mask that equals a better one; 0 is the threshold."""
    decoder = Decoder(update_thresh=0.0, min_mask_area=5, nms_kernel=kernel)
    features = torch.full((8, 8, 1), -1.0)
    features[:2, :2] = 1.0  # of 4 points
    masks, scores = DynamicMasks(torch.ones(3, 1), features), torch.tensor([[0.9], [0.8], [0.7]])
    for form in (contextlib.nullcontext, all_at_once, as_exported):
        with form():
            found = decoder(scores, masks, torch.ones(3), (32, 32))
        assert not found.valid.any()


def test_a_detection_for_every_cell(make_lively: MakeHead, make_features: MakeFeatures) -> None:
    """More than a hundred instances in one image, as microscopy needs."""
    head = make_lively(max_detections=400, score_thresh=0.0, update_thresh=0.0, nms_pre=1000)
    with torch.no_grad():
        result = head.inference(make_features(1), [SIZE])[0]
    assert 100 < len(result) <= 400
    assert result.scores.isfinite().all()


LARGE = (224, 352)  # maps of 2 x 3 tiles


def _large_features(seed: int) -> Features:
    torch.manual_seed(seed)
    return {
        f"p{i + 2}": torch.randn(1, 32, LARGE[0] // stride, LARGE[1] // stride)
        for i, stride in enumerate((4, 8, 16, 32, 64))
    }


@pytest.mark.parametrize("size", [LARGE, (201, 350)])
@pytest.mark.parametrize(
    "kwargs", [{}, {"variant": "full"}, {"variant": "full", "published": True}], ids=str
)
def test_tiles_and_whole_masks_give_the_same_instances(
    kwargs: Dict[str, Any],
    size: Tuple[int, int],
    make_lively: MakeHead,
    all_at_once: Callable[[], Any],
) -> None:
    """Logits may differ where no point within two is inside, but for their sign."""
    head = make_lively(**kwargs, max_detections=1000)
    for seed in range(3):
        features = _large_features(seed)
        with torch.no_grad():
            tiled = head.detections(features, [size])[0]
            with all_at_once():
                whole = head.detections(features, [size])[0]
        assert len(tiled.scores) > 20
        torch.testing.assert_close(whole.scores, tiled.scores, rtol=1e-5, atol=1e-6)
        assert torch.equal(whole.thing_index, tiled.thing_index)
        assert torch.equal(whole.boxes, tiled.boxes)
        assert whole.valid.all() and tiled.valid.all()
        maps, expected = (found.masks.maps() for found in (whole, tiled))
        inside = expected > 0
        assert torch.equal(maps > 0, inside)
        near = F.max_pool2d(inside.float(), 5, stride=1, padding=2) > 0
        torch.testing.assert_close(maps[near], expected[near], rtol=1e-4, atol=1e-4)


def test_nothing_is_found_in_either_form(
    make_lively: MakeHead, all_at_once: Callable[[], Any]
) -> None:
    head = make_lively(score_thresh=0.999)
    with torch.no_grad(), all_at_once():
        found = head.detections(_large_features(0), [LARGE])[0]
    assert found.scores.shape == found.thing_index.shape == found.valid.shape == (0,)
    assert found.boxes.shape == (0, 4) and found.masks.maps().shape == (0, 56, 88)
