"""The SOLOv2 head: losses against formulas, decoding against loops, empty batches, mistakes."""

import math
from typing import Any, Dict, List, Optional, Sequence, Tuple

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes, Instances
from torch import nn

from effps_solo import add_effps_solo_config
from effps_solo.instance_head import SOLOv2InstanceHead, build_instance_head
from effps_solo.instance_head.solov2.position_prior import base_extents, position_prior_logits
from effps_solo.instance_head.solov2.targets import assign_to_grid

NAMES = ["p2", "p3", "p4", "p5", "p6"]
GRIDS = [(8, 12), (6, 10), (5, 7), (3, 4), (2, 3)]
RANGES = [(1.0, 16.0), (8.0, 32.0), (16.0, 64.0), (32.0, 128.0), (64.0, 1e5)]
SIZE = (64, 96)
NUM_CLASSES = 3
VARIANTS = ["efficient", "full"]
Features = Dict[str, torch.Tensor]


def _shapes(channels: int = 32) -> Dict[str, ShapeSpec]:
    return {n: ShapeSpec(channels=channels, stride=4 << i) for i, n in enumerate(NAMES)}


def _head(**kwargs: Any) -> SOLOv2InstanceHead:
    torch.manual_seed(0)
    arguments: Dict[str, Any] = {
        "input_shape": _shapes(),
        "in_features": NAMES,
        "mask_in_features": NAMES[:4],
        "num_classes": NUM_CLASSES,
        "num_grids": GRIDS,
        "scale_ranges": RANGES,
        "channels": 32,
        "num_convs": 2,
        "kernel_dim": 32,
        "mask_channels": 32,
    }
    return SOLOv2InstanceHead(**{**arguments, **kwargs})


def _features(count: int = 2, seed: int = 0, channels: int = 32) -> Features:
    torch.manual_seed(seed)
    return {
        n: torch.randn(count, channels, -(-SIZE[0] // (4 << i)), -(-SIZE[1] // (4 << i)))
        for i, n in enumerate(NAMES)
    }


def _lively(**kwargs: Any) -> SOLOv2InstanceHead:
    """A head whose scores and masks differ from cell to cell."""
    head = _head(**kwargs).eval()
    torch.manual_seed(1)
    for name, parameter in head.named_parameters():
        if parameter.dim() == 4:
            nn.init.normal_(parameter, std=(1.0 / parameter[0].numel()) ** 0.5)
    nn.init.constant_(head.grid_branches.category_predictor.bias, -0.5)
    nn.init.normal_(head.grid_branches.kernel_predictor.bias, std=0.2)
    return head


@pytest.fixture(scope="module", params=VARIANTS)
def lively(request: pytest.FixtureRequest) -> SOLOv2InstanceHead:
    return _lively(variant=request.param)


def _ground_truth(
    boxes: Sequence[Tuple[int, int, int, int]], classes: Sequence[int], size: Tuple[int, int] = SIZE
) -> Instances:
    """Filled boxes, with stride-4 masks by the centres of the 4 x 4 blocks."""
    instances = Instances(size)
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    instances.gt_boxes = Boxes(corners)
    instances.gt_centers = (corners[:, :2] + corners[:, 2:] - 1) / 2
    instances.gt_areas = ((corners[:, 2:] - corners[:, :2]).prod(dim=1)).long()
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    masks = torch.zeros(len(boxes), -(-size[0] // 4), -(-size[1] // 4), dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes):
        for i in range(mask.shape[0]):
            for j in range(mask.shape[1]):
                mask[i, j] = x0 <= 4 * j + 2 < x1 and y0 <= 4 * i + 2 < y1
    instances.gt_stride4_masks = masks
    return instances


def _some_objects() -> List[Instances]:
    """Objects on all levels; the second image is smaller than the padded frame."""
    first = _ground_truth(
        [(3, 5, 14, 12), (30, 10, 70, 50), (60, 20, 90, 60), (0, 0, 96, 64), (7, 7, 8, 8)],
        [0, 1, 2, 1, 0],
    )
    second = _ground_truth([(10, 10, 40, 44), (50, 4, 60, 30)], [2, 0], (48, 80))
    return [first, second]


def _expected_losses(
    head: SOLOv2InstanceHead,
    features: Features,
    instances: List[Instances],
    ignore: Optional[torch.Tensor],
) -> Tuple[float, float]:
    """Focal / (positives + 1) and the mean dice over the masks, by the formulas."""
    output = head(features)
    focal, positives, dice = 0.0, 0, []
    for i, objects in enumerate(instances):
        targets = assign_to_grid(
            objects.gt_centers,
            objects.gt_boxes.tensor,
            objects.gt_areas,
            objects.gt_classes,
            padded_size=SIZE,
            num_grids=GRIDS,
            scale_ranges=RANGES,
            center_sigma=0.2,
            num_classes=NUM_CLASSES,
            ignore=None if ignore is None else ignore[i],
        )
        positives += len(targets.cell_index)
        probability = output.category[i].sigmoid()
        for cell, label in enumerate(targets.category.tolist()):
            for column in range(NUM_CLASSES if label != -1 else 0):
                p = float(probability[cell, column])
                if label == column:
                    focal -= 0.25 * (1 - p) ** 2 * math.log(p)
                else:
                    focal -= 0.75 * p**2 * math.log(1 - p)
        for cell, k in zip(targets.cell_index.tolist(), targets.instance_index.tolist()):
            target = torch.zeros(SIZE[0] // 4, SIZE[1] // 4)
            mask = objects.gt_stride4_masks[k]
            target[: mask.shape[0], : mask.shape[1]] = mask
            if not mask.any():
                continue
            p_map = _mask_logits(head, output, i, cell).sigmoid()
            keep = torch.ones_like(target) if ignore is None else (~ignore[i]).float()
            p_map, target = p_map * keep, target * keep
            denominator = float((p_map**2).sum() + (target**2).sum()) + 2e-3
            dice.append(1 - 2 * float((p_map * target).sum()) / denominator)
    return focal / (positives + 1), sum(dice) / max(len(dice), 1)


def _mask_logits(head: SOLOv2InstanceHead, output: Any, image: int, cell: int) -> torch.Tensor:
    """The dynamic convolution of one cell, and the prior around the centre of that cell."""
    kernel, features = output.kernels[image, cell], output.mask_features[image]
    logits = sum(float(kernel[e]) * features[e] for e in range(len(features)))
    assert isinstance(logits, torch.Tensor)
    if len(kernel) == len(features):
        return logits
    level = 0
    while cell >= GRIDS[level][0] * GRIDS[level][1]:
        cell -= GRIDS[level][0] * GRIDS[level][1]
        level += 1
    row, column = divmod(cell, GRIDS[level][1])
    x = (column + 0.5) * SIZE[1] / GRIDS[level][1]
    y = (row + 0.5) * SIZE[0] / GRIDS[level][0]
    prior = position_prior_logits(
        kernel[None, len(features) :],
        torch.tensor([[x, y]]),
        torch.tensor([base_extents(RANGES)[level]]),
        (SIZE[0] // 4, SIZE[1] // 4),
    )
    return logits + prior[0]


@pytest.mark.parametrize("with_ignore", [False, True])
def test_losses_equal_the_formulas(lively: SOLOv2InstanceHead, with_ignore: bool) -> None:
    features, instances, ignore = _features(), _some_objects(), None
    if with_ignore:
        ignore = torch.rand(2, SIZE[0] // 4, SIZE[1] // 4) < 0.2
    with torch.no_grad():
        losses = lively.losses(features, [SIZE, (48, 80)], instances, ignore)
        focal, dice = _expected_losses(lively, features, instances, ignore)
    assert set(losses) == {"loss_category", "loss_mask"}
    assert float(losses["loss_category"]) == pytest.approx(focal, rel=1e-4)
    assert float(losses["loss_mask"]) == pytest.approx(3 * dice, rel=1e-4)


def test_loss_weights() -> None:
    features, instances = _features(), _some_objects()
    plain = _lively(category_loss_weight=1.0, mask_loss_weight=1.0)
    heavy = _lively(category_loss_weight=5.0, mask_loss_weight=7.0)
    with torch.no_grad():
        a = plain.losses(features, [SIZE] * 2, instances, None)
        b = heavy.losses(features, [SIZE] * 2, instances, None)
    torch.testing.assert_close(b["loss_category"], 5 * a["loss_category"])
    torch.testing.assert_close(b["loss_mask"], 7 * a["loss_mask"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter(variant: str) -> None:
    head = _head(variant=variant).train()
    losses = head.losses(_features(), [SIZE] * 2, _some_objects(), None)
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("everything_ignored", [False, True])
def test_a_batch_without_objects(variant: str, everything_ignored: bool) -> None:
    """Finite losses, and a gradient for every parameter, so that no process waits for it."""
    head = _head(variant=variant).train()
    ignore = torch.full((2, SIZE[0] // 4, SIZE[1] // 4), everything_ignored)
    losses = head.losses(_features(), [SIZE] * 2, [_ground_truth([], [])] * 2, ignore)
    sum(losses.values()).backward()
    assert float(losses["loss_mask"]) == 0.0
    assert (float(losses["loss_category"]) == 0.0) == everything_ignored
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_one_empty_image_beside_a_full_one(lively: SOLOv2InstanceHead) -> None:
    features, instances = _features(), [_some_objects()[0], _ground_truth([], [])]
    with torch.no_grad():
        losses = lively.losses(features, [SIZE] * 2, instances, None)
        focal, dice = _expected_losses(lively, features, instances, None)
    assert float(losses["loss_category"]) == pytest.approx(focal, rel=1e-4)
    assert float(losses["loss_mask"]) == pytest.approx(3 * dice, rel=1e-4)


def test_an_object_without_a_stride4_mask_trains_its_class_only() -> None:
    head = _head().train()
    tiny = _ground_truth([(4, 4, 6, 6)], [1])
    assert not tiny.gt_stride4_masks.any()
    losses = head.losses(_features(1), [SIZE], [tiny], None)
    without = head.losses(_features(1), [SIZE], [_ground_truth([], [])], None)
    assert float(losses["loss_mask"]) == 0.0
    assert float(losses["loss_category"]) != float(without["loss_category"])


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
                    if score > head.score_thresh:
                        candidates.append((score, offset + i * columns + j, label))
        offset += rows * columns
    return sorted(candidates, key=lambda c: (-c[0], c[1], c[2]))[: head.nms_pre]


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
    head: SOLOv2InstanceHead, features: Features, image: int, size: Tuple[int, int]
) -> List[dict]:
    output = head(features)
    entries = []
    for score, cell, label in _slow_candidates(head, output, image):
        logits = _mask_logits(head, output, image, cell)[: -(-size[0] // 4), : -(-size[1] // 4)]
        mask = logits > 0
        if int(mask.sum()) >= head.min_mask_area:
            maskness = float(logits.sigmoid()[mask].mean())
            entries.append({"score": score * maskness, "label": label, "mask": mask})
    _slow_matrix_nms(entries, head.nms_sigma)
    entries = [e for e in entries if e["final"] >= head.update_thresh]
    return sorted(entries, key=lambda e: -e["final"])[: head.max_detections]


@pytest.mark.parametrize("size", [SIZE, (50, 91)])
def test_inference_equals_a_plain_restatement(
    lively: SOLOv2InstanceHead, size: Tuple[int, int]
) -> None:
    features = _features()
    with torch.no_grad():
        result = lively.inference(features, [SIZE, size])[1]
        expected = _slow_decode(lively, features, 1, size)
    assert len(expected) > 10
    assert result.image_size == size
    assert result.scores.tolist() == pytest.approx([e["final"] for e in expected], abs=1e-5)
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


def test_the_score_cut_changes_nothing_above_it(lively: SOLOv2InstanceHead) -> None:
    features = _features()
    with torch.no_grad():
        everything = lively.inference(features, [SIZE] * 2)
        for cut in (0.0, 0.2, 0.35, 0.5):
            for full, fast in zip(everything, lively.inference(features, [SIZE] * 2, cut)):
                _same(fast, full[full.scores >= cut])
    counts = [int((x.scores >= 0.35).sum()) for x in everything]
    assert 0 < sum(counts) < sum(len(x) for x in everything)


def test_a_batch_equals_single_images(lively: SOLOv2InstanceHead) -> None:
    features, sizes = _features(3), [SIZE, (40, 70), (63, 33)]
    with torch.no_grad():
        together = lively.inference(features, sizes)
        for i, size in enumerate(sizes):
            alone = lively.inference({n: x[i : i + 1] for n, x in features.items()}, [size])[0]
            _same(together[i], alone)


def test_limits() -> None:
    features = _features(1)
    with torch.no_grad():
        everything = _lively(max_detections=1000).inference(features, [SIZE])[0]
        few = _lively(max_detections=4).inference(features, [SIZE])[0]
        nothing = _lively(score_thresh=0.999).inference(features, [SIZE])[0]
        strict = _lively(update_thresh=0.3, max_detections=1000).inference(features, [SIZE])[0]
        big = _lively(min_mask_area=60, max_detections=1000).inference(features, [SIZE])[0]
        three = _lively(nms_pre=3).inference(features, [SIZE])[0]
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


def test_a_detection_for_every_cell() -> None:
    """More than a hundred instances in one image, as microscopy needs."""
    head = _lively(max_detections=400, score_thresh=0.0, update_thresh=0.0, nms_pre=1000)
    with torch.no_grad():
        result = head.inference(_features(1), [SIZE])[0]
    assert 100 < len(result) <= 400
    assert result.scores.isfinite().all()


def test_buffers_stay_out_of_checkpoints() -> None:
    assert not any("cell_" in key for key in _head().state_dict())
    head = _head(variant="full")
    assert not any("cell_" in key for key in head.state_dict())


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"variant": "tiny"}, "MODEL.SOLOV2.VARIANT is 'tiny'"),
        ({"num_grids": GRIDS[:4]}, "MODEL.SOLOV2.NUM_GRIDS 4"),
        ({"scale_ranges": RANGES[:3]}, "MODEL.SOLOV2.SCALE_RANGES 3"),
        ({"in_features": NAMES[:2]}, "IN_FEATURES has 2 entries"),
    ],
)
def test_mistakes_name_the_key(arguments: Dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _head(**arguments)


def test_no_thing_class_is_refused() -> None:
    with pytest.raises(ValueError, match="MODEL.INSTANCE_HEAD.NUM_CLASSES.* 0"):
        _head(num_classes=0)


def test_from_config() -> None:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.MODEL.INSTANCE_HEAD.NUM_CLASSES = 5
    cfg.MODEL.SOLOV2.CHANNELS = cfg.MODEL.SOLOV2.MASK_CHANNELS = cfg.MODEL.SOLOV2.KERNEL_DIM = 32
    cfg.TEST.DETECTIONS_PER_IMAGE = 400
    head = build_instance_head(cfg, _shapes())
    assert isinstance(head, SOLOv2InstanceHead)
    assert (head.num_classes, head.max_detections) == (5, 400)
    assert head.num_grids[0] == (40, 80)
    cfg.MODEL.INSTANCE_HEAD.NAME = "Mask2Former"
    with pytest.raises(ValueError, match="MODEL.INSTANCE_HEAD.NAME is 'Mask2Former'.*SOLOv2"):
        build_instance_head(cfg, _shapes())
