"""The SOLOv2 head: losses against formulas, gradients, empty batches, mistakes."""

import math
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes, Instances

from effps_solo import add_effps_solo_config
from effps_solo.data.object_masks import ObjectMasks
from effps_solo.modeling.instance_head import (
    PublishedSOLOv2InstanceHead,
    SOLOv2InstanceHead,
    build_instance_head,
    total_over_processes,
)
from effps_solo.modeling.instance_head.solov2.dynamic_masks import DynamicMasks
from effps_solo.modeling.instance_head.solov2.losses import category_focal_loss
from effps_solo.modeling.instance_head.solov2.targets import assign_to_grid

NAMES = ["p2", "p3", "p4", "p5", "p6"]
GRIDS = [(8, 12), (6, 10), (5, 7), (3, 4), (2, 3)]
RANGES = [(1.0, 16.0), (8.0, 32.0), (16.0, 64.0), (32.0, 128.0), (64.0, 1e5)]
SIZE = (64, 96)
SHAPES = {n: ShapeSpec(channels=32, stride=4 << i) for i, n in enumerate(NAMES)}
NUM_CLASSES = 3
VARIANTS = ["efficient", "full"]
Features = Dict[str, torch.Tensor]
MakeHead = Callable[..., SOLOv2InstanceHead]
MakeFeatures = Callable[..., Features]
MaskLogits = Callable[..., torch.Tensor]


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
    objects = torch.zeros(size, dtype=torch.int32)
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        objects[y0:y1, x0:x1] = k + 1
    instances.gt_masks = ObjectMasks(objects, torch.arange(1, len(boxes) + 1))
    return instances


def _some_objects() -> List[Instances]:
    """Objects on all levels; the second image is smaller than the padded frame."""
    first = _ground_truth(
        [(3, 5, 14, 12), (30, 10, 70, 50), (60, 20, 90, 60), (0, 0, 96, 64), (7, 7, 8, 8)],
        [0, 1, 2, 1, 0],
    )
    second = _ground_truth([(10, 10, 40, 44), (50, 4, 60, 30)], [2, 0], (48, 80))
    return [first, second]


def _losses(
    head: SOLOv2InstanceHead,
    features: Features,
    sizes: List[Tuple[int, int]],
    instances: List[Instances],
    ignore: Optional[torch.Tensor],
) -> Dict[str, torch.Tensor]:
    """Of a step that these images are all of."""
    targets = head.targets(SIZE, instances, ignore)
    return head.losses(features, sizes, targets, total_over_processes(targets.counts))


def _expected_losses(
    head: SOLOv2InstanceHead,
    mask_logits: MaskLogits,
    features: Features,
    instances: List[Instances],
    ignore: Optional[torch.Tensor],
) -> Tuple[float, float]:
    """Focal / (positives + 1) and the mean dice over the masks, by the formulas.

    As published nothing is ignored, a contested cell has several masks, and an empty mask counts.
    """
    output = head(features, head.cells)
    published = isinstance(head, PublishedSOLOv2InstanceHead)
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
            ignore=None if ignore is None or published else ignore[i],
            one_owner=not published,
        )
        positives += len(set(targets.cell_index.tolist()))
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
            if not mask.any() and not published:
                continue
            p_map = mask_logits(head, output, i, cell).sigmoid()
            denominator = float((p_map**2).sum() + (target**2).sum()) + 2e-3
            dice.append(1 - 2 * float((p_map * target).sum()) / denominator)
    return focal / (positives + 1), sum(dice) / max(len(dice), 1)


@pytest.mark.parametrize("with_ignore", [False, True])
def test_losses_equal_the_formulas(
    lively: SOLOv2InstanceHead,
    with_ignore: bool,
    make_features: MakeFeatures,
    mask_logits: MaskLogits,
) -> None:
    """Ignored are cells, not pixels: a mask that flows into a crowd beside it is wrong."""
    features, instances, ignore = make_features(), _some_objects(), None
    if with_ignore:
        ignore = torch.rand(2, SIZE[0] // 4, SIZE[1] // 4) < 0.2
    with torch.no_grad():
        losses = _losses(lively, features, [SIZE, (48, 80)], instances, ignore)
        focal, dice = _expected_losses(lively, mask_logits, features, instances, ignore)
    of_points = {"loss_mask_point"} if lively.has_position_prior else set()  # the efficient variant
    assert set(losses) == {"loss_category", "loss_mask"} | of_points
    assert float(losses["loss_category"]) == pytest.approx(focal, rel=1e-4)
    assert float(losses["loss_mask"]) == pytest.approx(3 * dice, rel=1e-4)


def test_losses_of_the_published_head_equal_the_published_formulas(
    make_lively: MakeHead, make_features: MakeFeatures, mask_logits: MaskLogits
) -> None:
    head = make_lively(variant="full", published=True)
    features, instances = make_features(), _some_objects()
    ignore = torch.rand(2, SIZE[0] // 4, SIZE[1] // 4) < 0.5
    sizes = [SIZE, (48, 80)]
    with torch.no_grad():
        losses = _losses(head, features, sizes, instances, ignore)
        focal, dice = _expected_losses(head, mask_logits, features, instances, ignore)
        mended = _losses(make_lively(variant="full"), features, sizes, instances, ignore)
    assert float(losses["loss_category"]) == pytest.approx(focal, rel=1e-5)
    assert float(losses["loss_mask"]) == pytest.approx(3 * dice, rel=1e-5)
    assert all(abs(float(losses[key] - mended[key])) > 1e-3 for key in losses)
    empty = _losses(head, features, sizes, [_ground_truth([], [])] * 2, None)
    assert all(loss.isfinite() for loss in empty.values())


def test_loss_weights(make_lively: MakeHead, make_features: MakeFeatures) -> None:
    features, instances = make_features(), _some_objects()
    names = ["category_loss_weight", "mask_loss_weight", "point_loss_weight"]
    found = []
    for factors in ([1.0, 1.0, 1.0], [5.0, 7.0, 9.0]):
        head = make_lively(**dict(zip(names, factors)))
        torch.manual_seed(3)
        with torch.no_grad():
            found.append(_losses(head, features, [SIZE] * 2, instances, None))
    plain, heavy = found
    for key, factor in (("loss_category", 5), ("loss_mask", 7), ("loss_mask_point", 9)):
        torch.testing.assert_close(heavy[key], factor * plain[key])
    without = make_lively(point_loss_weight=0.0)
    for each in instances:
        each.remove("gt_masks")  # only points need them
    assert "loss_mask_point" not in _losses(without, features, [SIZE] * 2, instances, None)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_mask_loss_in_chunks_is_the_mask_loss(
    variant: str,
    make_lively: MakeHead,
    make_features: MakeFeatures,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Chunks of three cells: losses and all gradients of the whole, and masks of three at most."""
    features = {name: x.double() for name, x in make_features().items()}
    results, most = [], []
    for chunk in (0, 3):
        head = make_lively(variant=variant, mask_loss_chunk=chunk).double()
        sizes: List[int] = []
        whole = DynamicMasks.logits

        def counted(masks: DynamicMasks) -> torch.Tensor:
            sizes.append(len(masks.kernels))
            return whole(masks)

        with monkeypatch.context() as patch:
            patch.setattr(DynamicMasks, "logits", counted)
            torch.manual_seed(2)  # of the points
            losses = _losses(head, features, [SIZE] * 2, _some_objects(), None)
        sum(losses.values()).backward()
        results.append({**losses, **{n: p.grad for n, p in head.named_parameters()}})
        most.append(max(sizes))
    assert most[0] > 6 and most[1] == 3
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter(
    variant: str, make_head: MakeHead, make_features: MakeFeatures
) -> None:
    head = make_head(variant=variant).train()
    losses = _losses(head, make_features(), [SIZE] * 2, _some_objects(), None)
    sum(losses.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("everything_ignored", [False, True])
def test_a_batch_without_objects(
    variant: str, everything_ignored: bool, make_head: MakeHead, make_features: MakeFeatures
) -> None:
    """Finite losses, and a gradient for every parameter, so that no process waits for it."""
    head = make_head(variant=variant).train()
    ignore = torch.full((2, SIZE[0] // 4, SIZE[1] // 4), everything_ignored)
    losses = _losses(head, make_features(), [SIZE] * 2, [_ground_truth([], [])] * 2, ignore)
    sum(losses.values()).backward()
    assert losses["loss_mask"].item() == 0.0
    assert (losses["loss_category"].item() == 0.0) == everything_ignored
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_the_gradient_of_mask_features_has_their_layout(
    make_head: MakeHead, make_features: MakeFeatures
) -> None:
    """In another, each operation before them turns it round, at several times its cost."""
    head = make_head().train().to(memory_format=torch.channels_last)
    features = {
        name: x.contiguous(memory_format=torch.channels_last) for name, x in make_features().items()
    }
    output = head(features, head.cells)
    gradients: List[torch.Tensor] = []
    output.mask_features.register_hook(gradients.append)
    maps = [
        head.masks(image, head.cells).of(torch.tensor([0, 3])).logits()
        for image in output.of_images()
    ]
    torch.stack(maps).square().sum().backward()
    for x in (output.mask_features, *gradients):
        assert x.is_contiguous(memory_format=torch.channels_last)
    assert len(gradients) == 1 and gradients[0].flatten(1).any(1).all()


def test_one_empty_image_beside_a_full_one(
    lively: SOLOv2InstanceHead, make_features: MakeFeatures, mask_logits: MaskLogits
) -> None:
    features, instances = make_features(), [_some_objects()[0], _ground_truth([], [])]
    with torch.no_grad():
        losses = _losses(lively, features, [SIZE] * 2, instances, None)
        focal, dice = _expected_losses(lively, mask_logits, features, instances, None)
    assert float(losses["loss_category"]) == pytest.approx(focal, rel=1e-4)
    assert float(losses["loss_mask"]) == pytest.approx(3 * dice, rel=1e-4)


def test_an_object_without_a_stride4_mask_trains_its_class_only(
    make_head: MakeHead, make_features: MakeFeatures
) -> None:
    head = make_head().train()
    tiny = _ground_truth([(4, 4, 6, 6)], [1])
    assert not tiny.gt_stride4_masks.any()
    losses = _losses(head, make_features(1), [SIZE], [tiny], None)
    without = _losses(head, make_features(1), [SIZE], [_ground_truth([], [])], None)
    assert float(losses["loss_mask"]) == 0.0
    assert float(losses["loss_category"]) != float(without["loss_category"])


def test_buffers_stay_out_of_checkpoints(make_head: MakeHead) -> None:
    assert not any("cells" in key for key in make_head().state_dict())
    head = make_head(variant="full")
    assert not any("cells" in key for key in head.state_dict())


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"variant": "tiny"}, "MODEL.SOLOV2.VARIANT is 'tiny'"),
        ({"num_grids": GRIDS[:4]}, "MODEL.SOLOV2.NUM_GRIDS 4"),
        ({"scale_ranges": RANGES[:3]}, "MODEL.SOLOV2.SCALE_RANGES 3"),
        ({"in_features": NAMES[:2]}, "IN_FEATURES has 2 entries"),
        (
            {"scale_ranges": [*RANGES[:3], (70.0, 128.0), (100.0, 1e5)]},
            r"SCALE_RANGES: no level learns objects between 64 and 70 px",
        ),
        (
            {"scale_ranges": [*RANGES[:4], (1e5, 64.0)]},
            r"SCALE_RANGES: the range \[100000, 64\] is empty",
        ),
        (
            {"mask_in_features": NAMES[1:4]},
            r"MASK_IN_FEATURES \['p3', 'p4', 'p5'\] have strides \[8, 16, 32\].*begin at stride 4",
        ),
        ({"mask_in_features": []}, "MASK_IN_FEATURES .*begin at stride 4"),
        (
            {"variant": "full", "mask_in_features": ["p2", "p4", "p5"]},
            r"MASK_IN_FEATURES .* have strides \[4, 16, 32\].*begin at stride 4 and double",
        ),
    ],
)
def test_mistakes_name_the_key(
    arguments: Dict[str, Any], message: str, make_head: MakeHead
) -> None:
    with pytest.raises(ValueError, match=message):
        make_head(**arguments)


def test_no_thing_class_is_refused(make_head: MakeHead) -> None:
    with pytest.raises(ValueError, match="MODEL.INSTANCE_HEAD.NUM_CLASSES.* 0"):
        make_head(num_classes=0)


def test_from_config() -> None:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.MODEL.INSTANCE_HEAD.NUM_CLASSES = 5
    cfg.MODEL.SOLOV2.CHANNELS = cfg.MODEL.SOLOV2.MASK_CHANNELS = cfg.MODEL.SOLOV2.KERNEL_DIM = 32
    cfg.TEST.DETECTIONS_PER_IMAGE = 400
    head = build_instance_head(cfg, SHAPES)
    assert isinstance(head, SOLOv2InstanceHead)
    assert (head.num_classes, head.decoder.max_detections) == (5, 400)
    assert head.cells.num_grids[0] == (40, 80)
    cfg.MODEL.SOLOV2.FOCAL_ALPHA, cfg.MODEL.SOLOV2.FOCAL_GAMMA = 0.4, 1.5
    logits, category = torch.randn(7, 5), torch.arange(7) - 1
    head = build_instance_head(cfg, SHAPES)
    expected = category_focal_loss(logits, category, alpha=0.4, gamma=1.5)
    assert torch.equal(head.category_loss(logits, category), expected)
    assert type(head) is SOLOv2InstanceHead
    cfg.MODEL.SOLOV2.PARITY = True
    assert type(build_instance_head(cfg, SHAPES)) is PublishedSOLOv2InstanceHead
    cfg.MODEL.INSTANCE_HEAD.NAME = "Mask2Former"
    with pytest.raises(ValueError, match="MODEL.INSTANCE_HEAD.NAME is 'Mask2Former'.*SOLOv2"):
        build_instance_head(cfg, SHAPES)


def test_grids_at_inference_may_differ(make_head: MakeHead, make_features: MakeFeatures) -> None:
    head = make_head(test_num_grids=[(2 * rows, 2 * columns) for rows, columns in GRIDS])
    cells = sum(rows * columns for rows, columns in GRIDS)
    features = make_features(1)
    with torch.no_grad():
        assert head(features, head.cells).category.shape[1] == cells
        assert head(features, head.test_cells).category.shape[1] == 4 * cells
        head.decoder.score_thresh = head.decoder.update_thresh = 0.0
        head.decoder.max_detections = head.decoder.nms_pre = 10 * cells
        assert len(head.train().inference(features, [SIZE])[0]) > cells


@pytest.mark.parametrize("published", [False, True])
def test_whole_images_have_the_grids_of_inference(
    published: bool, make_lively: MakeHead, make_features: MakeFeatures
) -> None:
    """In whatever mode; the losses are those of a head that is trained on these grids."""
    finer = [(2 * rows, 2 * columns) for rows, columns in GRIDS]
    head = make_lively(published=published, test_num_grids=finer)
    trained_so = make_lively(published=published, num_grids=finer)
    features, objects = make_features(), _some_objects()
    expected = trained_so.targets(SIZE, objects, None)
    for mode in (True, False):
        head.train(mode)
        targets = head.targets(SIZE, objects, None, whole_images=True)
        assert targets.cells is head.test_cells
        assert torch.equal(targets.counts, expected.counts)
        for found, wanted in zip(targets.grids, expected.grids):
            assert torch.equal(found.category, wanted.category)
            assert torch.equal(found.cell_index, wanted.cell_index)
            assert torch.equal(found.instance_index, wanted.instance_index)
        assert head.targets(SIZE, objects, None).cells is head.cells
        assert len(targets.grids[0].category) == sum(rows * columns for rows, columns in finer)
    totals = total_over_processes(expected.counts)
    with torch.no_grad():
        torch.manual_seed(4)
        losses = head.losses(features, [SIZE] * 2, targets, totals)
        torch.manual_seed(4)
        wanted_losses = trained_so.losses(features, [SIZE] * 2, expected, totals)
    assert losses == wanted_losses


def test_losses_of_ones_own(make_head: MakeHead, make_features: MakeFeatures) -> None:
    """Both are called with what their contracts say, and weighted and averaged as the others."""
    seen: List[Tuple[torch.Size, ...]] = []

    def category_loss(logits: torch.Tensor, category: torch.Tensor) -> torch.Tensor:
        seen.append((logits.shape, category.shape))
        return logits.sum() * 0 + 12.0

    def mask_loss(mask_logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        assert targets.dtype == torch.bool
        seen.append((mask_logits.shape, targets.shape))
        return mask_logits.flatten(1).sum(dim=1) * 0 + 0.5

    head = make_head(
        category_loss=category_loss,
        mask_loss=mask_loss,
        category_loss_weight=2.0,
        mask_loss_weight=10.0,
        mask_loss_chunk=0,
    )
    objects = _some_objects()
    counts = head.targets(SIZE, objects, None).counts.tolist()
    losses = _losses(head, make_features(), [SIZE] * 2, objects, None)
    assert float(losses["loss_category"]) == pytest.approx(2 * 12 / (counts[0] + 1))
    assert float(losses["loss_mask"]) == pytest.approx(10 * 0.5)
    cells = 2 * sum(rows * columns for rows, columns in GRIDS)
    assert seen[0] == ((cells, NUM_CLASSES), (cells,))
    assert all(logits == targets and logits[1:] == (16, 24) for logits, targets in seen[1:])
    assert sum(logits[0] for logits, _ in seen[1:]) == counts[1]


def test_at_another_scale_cells_keep_their_size_in_pixels(
    make_lively: MakeHead, make_features: MakeFeatures
) -> None:
    head = make_lively(test_num_grids=GRIDS).eval()
    before = head.inference(make_features(1), [SIZE])[0]
    scaled = head.test_cells.scaled(1.5)
    assert scaled.num_grids == [(12, 18), (9, 15), (8, 10), (4, 6), (3, 4)]
    cells = sum(rows * columns for rows, columns in scaled.num_grids)
    assert head(make_features(1), scaled).category.shape[1] == cells
    assert len(scaled.centers) == len(scaled.strides) == len(scaled.extents) == cells
    larger = head.inference(make_features(1), [SIZE], scale=1.5)[0]
    expected = make_lively(test_num_grids=scaled.num_grids).inference(make_features(1), [SIZE])[0]
    assert torch.equal(larger.scores, expected.scores) and len(larger) > 0
    assert torch.equal(larger.mask_source.maps, expected.mask_source.maps)
    assert head.test_cells.scaled(0.01).num_grids == [(1, 1)] * 5
    after = head.inference(make_features(1), [SIZE])[0]
    assert torch.equal(after.scores, before.scores) and len(before) > 0
    assert head.cells.num_grids == head.test_cells.num_grids == GRIDS


def test_class_weights(make_lively: MakeHead, make_features: MakeFeatures) -> None:
    """The mask losses of a class count by its weight, and its positive cells do."""
    features, instances = make_features(), _some_objects()
    weights = [1.0, 2.5, 4.0]

    def of(weighted: Sequence[float]) -> Dict[str, torch.Tensor]:
        weigh = partial(category_focal_loss, class_weights=weighted)
        head = make_lively(class_weights=weighted, category_loss=weigh)
        with torch.no_grad():
            return _losses(head, features, [SIZE] * 2, instances, None)

    plain, single = of([]), [of([float(i == c) for i in range(NUM_CLASSES)]) for c in range(3)]
    masks = sum(w * each["loss_mask"] for w, each in zip(weights, single))
    torch.testing.assert_close(of(weights)["loss_mask"], masks)
    torch.testing.assert_close(of([1.0] * 3)["loss_category"], plain["loss_category"])
    assert float(of(weights)["loss_category"]) > float(plain["loss_category"])
