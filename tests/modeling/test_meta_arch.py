"""The whole model from keywords alone: heads x fusions x label spaces, training, frames."""

from functools import partial
from typing import Any, Dict, List, Tuple

import pytest
import torch
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Boxes, Instances

from effps_solo import EfficientPS
from effps_solo.data.object_masks import ObjectMasks
from effps_solo.modeling.backbone import EfficientNet, TwoWayFPN
from effps_solo.modeling.fusion import AdaptiveFusion, FusionThresholds, HeuristicFusion
from effps_solo.modeling.instance_head import NoInstanceHead, SOLOv2InstanceHead
from effps_solo.modeling.instance_head.solov2.grids import Cells
from effps_solo.modeling.postprocessing import WindowedMasks
from effps_solo.modeling.sem_seg_head import EfficientPSSemanticHead
from effps_solo.modeling.sem_seg_head.loss import hard_pixel_cross_entropy
from effps_solo.structures.label_space import PanopticLabelSpace
from tests.noise_statistics import take_statistics

LEVELS = ["p2", "p3", "p4", "p5", "p6"]
GRIDS = [(8, 12), (6, 10), (5, 7), (3, 4), (2, 3)]
RANGES = [(1, 16), (8, 32), (16, 64), (32, 128), (64, 100000)]
SIZE = (64, 96)
SPACES = {
    "things first": PanopticLabelSpace({10: 0, 11: 1, 12: 2}, {20: 3, 21: 4}),
    "offset": PanopticLabelSpace({24: 3, 25: 4, 26: 5}, {7: 0, 8: 1, 11: 2}),
    "things only": PanopticLabelSpace({1: 0, 2: 1, 3: 2}, {}),
    "one class": PanopticLabelSpace({1: 0}, {}),
}
HEADS = ["efficient", "full"]
FUSIONS = [AdaptiveFusion, HeuristicFusion]


def _parts(space: PanopticLabelSpace, variant: str = "efficient", **changes: int) -> Dict[str, Any]:
    """Keyword arguments of a tiny EfficientPS."""
    torch.manual_seed(0)
    bottom_up = EfficientNet(
        name="tf_efficientnet_lite0", activation="relu6", conv_head=False, stage0_activation=False
    )
    fpn = TwoWayFPN(
        bottom_up=bottom_up, in_features=["res2", "res3", "res4", "res5"], out_channels=64
    )
    sem_seg_head = EfficientPSSemanticHead(
        input_shape=fpn.output_shape(),
        in_features=LEVELS[:4],
        num_classes=changes.get("num_classes", space.num_classes),
        convs_dim=32,
        semantic_loss=partial(hard_pixel_cross_entropy, ignore_value=space.ignore_label),
    )
    instance_head = SOLOv2InstanceHead(
        input_shape=fpn.output_shape(),
        in_features=LEVELS,
        mask_in_features=LEVELS[:4],
        num_classes=changes.get("num_things", space.num_things),
        num_grids=GRIDS,
        scale_ranges=RANGES,
        variant=variant,
        channels=32,
        num_convs=2,
        kernel_dim=32,
        mask_channels=64,
        norm="GN" if variant == "full" else "BN",
        point_loss_weight=3.0,
    )
    return {
        "backbone": fpn,
        "sem_seg_head": sem_seg_head,
        "instance_head": instance_head,
        "fusion": AdaptiveFusion(label_space=space, thresholds=FusionThresholds(score=0.3)),
        "label_space": space,
        "pixel_mean": [127.5, 127.5, 127.5],
        "pixel_std": [127.5, 127.5, 127.5],
    }


def _model(name: str, variant: str = "efficient", **kwargs: Any) -> EfficientPS:
    model = EfficientPS(**{**_parts(SPACES[name], variant), **kwargs})
    take_statistics(model)
    return model.train()


def _excite(model: EfficientPS, bias: float) -> None:
    """Make the instance head fire (or not) at every cell, with masks that differ."""
    branches = model.instance_head.grid_branches
    torch.nn.init.constant_(branches.category_predictor.bias, bias)
    torch.nn.init.normal_(branches.category_predictor.weight, std=0.3)
    torch.nn.init.normal_(branches.kernel_predictor.weight, std=0.2)


def _image(size: Tuple[int, int] = SIZE, seed: int = 0) -> Dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)
    return {"image": image}


def _sample(
    space: PanopticLabelSpace,
    boxes: List[Tuple[int, int, int, int]],
    size: Tuple[int, int] = SIZE,
    seed: int = 0,
) -> Dict[str, Any]:
    """A training sample with filled boxes as objects; classes go round."""
    instances = Instances(size)
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    instances.gt_boxes = Boxes(corners)
    instances.gt_centers = (corners[:, :2] + corners[:, 2:] - 1) / 2
    instances.gt_areas = (corners[:, 2:] - corners[:, :2]).prod(dim=1).long()
    instances.gt_classes = torch.arange(len(boxes)) % space.num_things
    stride4 = (-(-size[0] // 4), -(-size[1] // 4))
    masks = torch.zeros(len(boxes), *stride4, dtype=torch.bool)
    sem_seg = torch.full(size, space.ignore_label)
    if space.stuff_ids:
        sem_seg[:] = space.stuff_ids[0]
        sem_seg[:, size[1] // 2 :] = space.stuff_ids[-1]
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        masks[k, y0 // 4 : y1 // 4, x0 // 4 : x1 // 4] = True
        sem_seg[y0:y1, x0:x1] = space.thing_ids[int(instances.gt_classes[k])]
    instances.gt_stride4_masks = masks
    objects = torch.zeros(size, dtype=torch.int32)
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        objects[y0:y1, x0:x1] = k + 1
    instances.gt_masks = ObjectMasks(objects, torch.arange(1, len(boxes) + 1))
    ignore = torch.zeros(stride4, dtype=torch.bool)
    return {
        **_image(size, seed),
        "sem_seg": sem_seg,
        "instances": instances,
        "instance_ignore": ignore,
    }


BOXES = [(4, 4, 16, 12), (24, 8, 64, 48), (72, 0, 92, 60), (4, 36, 24, 60), (0, 0, 96, 64)]


@pytest.fixture(scope="module", params=[(s, h) for s in SPACES for h in HEADS], ids=" ".join)
def any_model(request: pytest.FixtureRequest) -> EfficientPS:
    space, variant = request.param
    return _model(space, variant).eval()


@pytest.fixture(scope="module")
def offset_model() -> EfficientPS:
    model = _model("offset").eval()
    _excite(model, 0.0)
    return model


def _check_panoptic(
    result: Dict[str, Any], space: PanopticLabelSpace, size: Tuple[int, int]
) -> None:
    panoptic, segments = result["panoptic_seg"]
    assert panoptic.shape == size and panoptic.dtype == torch.int32
    assert sorted({0} | {s["id"] for s in segments}) == sorted(
        {0} | set(panoptic.unique().tolist())
    )
    for segment in segments:
        assert segment["area"] == int((panoptic == segment["id"]).sum()) > 0
        assert segment["isthing"] is space.is_thing(segment["category_id"])
        assert segment["isthing"] or segment["category_id"] in space.stuff_ids
        assert 0 <= segment["score"] <= 1


def _check_instances(
    result: Dict[str, Any], space: PanopticLabelSpace, size: Tuple[int, int]
) -> None:
    instances = result["instances"]
    assert instances.image_size == size
    assert instances.pred_masks.shape == (len(instances), *size)
    assert instances.pred_masks.dtype == torch.bool
    assert instances.pred_classes.dtype == torch.int64
    assert all(space.is_thing(c) for c in instances.pred_classes.tolist())
    assert ((instances.scores >= 0) & (instances.scores <= 1)).all()
    assert len(instances.pred_boxes) == len(instances)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("bias", [-20.0, 0.0])
def test_inference(any_model: EfficientPS, fusion: type, bias: float) -> None:
    """Heads x fusions x label spaces, without any instance and with many."""
    space = any_model.label_space
    any_model.fusion = fusion(label_space=space, thresholds=FusionThresholds(score=0.3))
    torch.manual_seed(0)
    _excite(any_model, bias)
    sizes = [SIZE, (41, 70)]
    with torch.no_grad():
        results = any_model([_image(size, i) for i, size in enumerate(sizes)])
    for result, size in zip(results, sizes):
        assert set(result) == {"panoptic_seg", "sem_seg", "instances"}
        assert result["sem_seg"].shape == (space.num_classes, *size)
        assert result["sem_seg"].dtype == torch.float32
        _check_panoptic(result, space, size)
        _check_instances(result, space, size)
        assert (len(result["instances"]) == 0) == (bias < 0)
        if bias < 0:
            assert not any(s["isthing"] for s in result["panoptic_seg"][1])


@pytest.mark.parametrize("boxes", [BOXES, []], ids=["objects", "empty"])
def test_losses(any_model: EfficientPS, boxes: list) -> None:
    """Finite in every label space, also without objects."""
    space = any_model.label_space
    any_model.train()
    batch = [_sample(space, boxes), _sample(space, [], (48, 80))]
    with torch.no_grad():
        losses = any_model(batch)
    any_model.eval()
    head = any_model.instance_head
    of_points = {"loss_mask_point"} if head.has_position_prior else set()  # the efficient variant
    assert set(losses) == {"loss_sem_seg", "loss_category", "loss_mask"} | of_points
    assert all(loss.dim() == 0 and loss.isfinite() for loss in losses.values())
    assert (float(losses["loss_mask"]) > 0) == bool(boxes)


@pytest.mark.parametrize("variant", HEADS)
@pytest.mark.parametrize("name", ["things first", "offset", "things only"])
def test_every_parameter_is_trained(name: str, variant: str) -> None:
    """One graph: every tensor has a finite, non-zero gradient after a batch with objects."""
    model = _model(name, variant).train()
    space = model.label_space
    losses = model([_sample(space, BOXES), _sample(space, BOXES[1:3], seed=1)])
    sum(losses.values()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.requires_grad, key
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


def test_a_batch_without_objects_touches_every_parameter() -> None:
    model = _model("offset").train()
    empty = _sample(model.label_space, [])
    empty["sem_seg"][:] = 255
    empty["instance_ignore"][:] = True
    losses = model([empty, dict(empty)])
    sum(losses.values()).backward()
    assert [float(loss) for loss in losses.values()] == [0.0, 0.0, 0.0, 0.0]
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


def test_padding_is_void_in_training(offset_model: EfficientPS) -> None:
    space = offset_model.label_space
    batch = [_sample(space, BOXES), _sample(space, BOXES[:1], (41, 70))]
    batch[1]["instance_ignore"][0, 0] = True
    padded_size = tuple(offset_model._preprocess(batch).tensor.shape[-2:])
    sem_seg = offset_model._semantic_targets(batch, padded_size)
    targets = offset_model._instance_targets(batch, padded_size)
    instances, ignore = targets.instances, targets.ignore_masks
    assert sem_seg.shape == (2, 64, 96) and sem_seg.dtype == torch.int64
    assert torch.equal(sem_seg[1, :41, :70], batch[1]["sem_seg"])
    assert (sem_seg[1, 41:] == 255).all() and (sem_seg[1, :, 70:] == 255).all()
    assert ignore.shape == (2, 16, 24) and int(ignore.sum()) == 1 and bool(ignore[1, 0, 0])
    assert [len(x) for x in instances] == [5, 1]


def test_preprocessing() -> None:
    model = _model("offset", pixel_mean=[10.0, 20.0, 30.0], pixel_std=[1.0, 2.0, 4.0])
    batch = [_image((33, 64)), _image((20, 27), seed=1)]
    images = model._preprocess(batch)
    assert images.tensor.shape == (2, 3, 64, 64)
    assert [tuple(s) for s in images.image_sizes] == [(33, 64), (20, 27)]
    for channel, (mean, std) in enumerate([(10, 1), (20, 2), (30, 4)]):
        expected = (batch[1]["image"][channel].float() - mean) / std
        torch.testing.assert_close(images.tensor[1, channel, :20, :27], expected)
    assert not images.tensor[1, :, 20:].any() and not images.tensor[0, :, 33:].any()


@pytest.mark.parametrize(
    "sizes, padded",
    [
        ([(20, 27)], (64, 64)),
        ([(20, 27), (32, 8)], (64, 64)),
        ([(20, 33)], (32, 64)),
        ([(20, 27), (70, 8)], (96, 32)),
    ],
)
def test_padding_in_training_and_the_counts_of_its_targets(
    sizes: List[Tuple[int, int]], padded: Tuple[int, int]
) -> None:
    """Tiny images alike in any company; the counts are those of the frame that the losses see."""
    model = _model("offset").train()
    batch = [
        _sample(model.label_space, [(0, 0, 8, 8), (2, 2, 4, 4)], size, seed)
        for seed, size in enumerate(sizes)
    ]
    assert tuple(model._preprocess(batch).tensor.shape[-2:]) == padded
    expected = model._instance_targets(batch, padded).counts
    assert model.count_targets(batch).tolist() == expected.tolist()
    assert expected[0] >= 2 * len(sizes) and expected[1] > 0


@pytest.mark.parametrize("size", [(20, 27), (1, 1), (31, 64)])
def test_images_below_32_pixels(offset_model: EfficientPS, size: Tuple[int, int]) -> None:
    with torch.no_grad():
        result = offset_model([_image(size)])[0]
    assert result["sem_seg"].shape == (6, *size)
    _check_panoptic(result, offset_model.label_space, size)
    _check_instances(result, offset_model.label_space, size)


@pytest.mark.parametrize("size", [(128, 192), (50, 60), (7, 300)])
def test_height_and_width(offset_model: EfficientPS, size: Tuple[int, int]) -> None:
    image = {**_image((61, 93)), "height": size[0], "width": size[1]}
    with torch.no_grad():
        result = offset_model([image])[0]
    assert result["sem_seg"].shape == (6, *size)
    _check_panoptic(result, offset_model.label_space, size)
    _check_instances(result, offset_model.label_space, size)


def test_the_output_frame_shows_the_same_picture(offset_model: EfficientPS) -> None:
    """Doubled, the maps are the same but for the pixels at the borders."""
    with torch.no_grad():
        small = offset_model([_image()])[0]
        large = offset_model([{**_image(), "height": 128, "width": 192}])[0]
    sampled = large["sem_seg"].argmax(0)[::2, ::2]
    assert (sampled == small["sem_seg"].argmax(0)).float().mean() > 0.9
    categories = []
    for result, step in ((small, 1), (large, 2)):
        panoptic, segments = result["panoptic_seg"]
        category = torch.full(panoptic.shape, -1)
        for segment in segments:
            category[panoptic == segment["id"]] = segment["category_id"]
        categories.append(category[::step, ::step])
    assert (categories[0] == categories[1]).float().mean() > 0.9


def test_a_batch_equals_single_images(offset_model: EfficientPS) -> None:
    images = [_image(seed=i) for i in range(3)]
    with torch.no_grad():
        together = offset_model(images)
        alone = [offset_model([image])[0] for image in images]
    for a, b in zip(together, alone):
        torch.testing.assert_close(a["sem_seg"], b["sem_seg"], rtol=1e-3, atol=1e-3)
        assert (a["panoptic_seg"][0] == b["panoptic_seg"][0]).float().mean() > 0.999
        assert len(a["instances"]) == len(b["instances"])
        torch.testing.assert_close(
            a["instances"].scores, b["instances"].scores, rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("outputs", [("panoptic_seg",), ("sem_seg",), ("instances", "sem_seg"), ()])
def test_outputs(offset_model: EfficientPS, outputs: tuple) -> None:
    """Those of a call; without any those of the model."""
    everything = offset_model.outputs
    with torch.no_grad():
        result = offset_model.inference([_image()], outputs=outputs)[0]
        assert offset_model.outputs == everything
        assert set(offset_model.inference([_image()])[0]) == set(everything)
        offset_model.outputs = outputs
        try:
            own = offset_model([_image()])[0]
        finally:
            offset_model.outputs = everything
    assert set(result) == set(own) == set(outputs)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_panoptic_map_alone_is_the_same(offset_model: EfficientPS, fusion: type) -> None:
    """Fewer candidates are decoded when nobody wants the instances; the map does not change.

    With the fusion's own thresholds and with those of a call, above them and below.
    """
    before = offset_model.fusion
    thresholds = FusionThresholds(score=0.4)
    space, maps = offset_model.label_space, []
    try:
        for own, of_call in ((0.4, None), (0.9, thresholds), (0.1, thresholds)):
            offset_model.fusion = fusion(label_space=space, thresholds=FusionThresholds(score=own))
            with torch.no_grad():
                for outputs in (None, ["panoptic_seg"]):
                    (result,) = offset_model.inference(
                        [_image()], outputs=outputs, thresholds=of_call
                    )
                    maps.append(result["panoptic_seg"])
    finally:
        offset_model.fusion = before
    assert any(s["isthing"] for s in maps[0][1])
    for other in maps[1:]:
        assert torch.equal(maps[0][0], other[0]) and maps[0][1] == other[1]


def test_masks_in_windows_are_those_of_the_whole_frame(offset_model: EfficientPS) -> None:
    image = {**_image((61, 93)), "height": 128, "width": 100}
    with torch.no_grad():
        (whole,) = offset_model.inference([image], outputs=["instances"])
        (windows,) = offset_model.inference([image], outputs=["instances"], whole_masks=False)
    whole, windows = whole["instances"], windows["instances"]
    assert isinstance(windows.pred_masks, WindowedMasks) and len(windows) > 10
    assert torch.equal(windows.pred_masks.tensor(), whole.pred_masks)
    for name in ("scores", "pred_classes"):
        assert torch.equal(windows.get(name), whole.get(name))
    assert torch.equal(windows.pred_boxes.tensor, whole.pred_boxes.tensor)
    assert instances_to_coco_json(windows, 0) == instances_to_coco_json(whole, 0)


@pytest.mark.parametrize("boxes", [BOXES, []], ids=["objects", "empty"])
def test_losses_of_whole_images_in_evaluation_mode(boxes: list) -> None:
    """On the grids of inference; nothing in the model changes."""
    finer = [(2 * rows, 2 * columns) for rows, columns in GRIDS]
    model = _model("offset")
    model.instance_head.test_cells = Cells(finer, RANGES, [8, 8, 16, 32, 32])
    model.eval()
    batch = [_sample(model.label_space, boxes), _sample(model.label_space, [], (48, 80))]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        on_training_grids = model.losses(batch)
        torch.manual_seed(0)  # of the points
        losses = model.losses(batch, whole_images=True)
        model.instance_head.cells = model.instance_head.test_cells
        torch.manual_seed(0)
        expected = model.losses(batch)
    assert set(losses) == {"loss_sem_seg", "loss_category", "loss_mask", "loss_mask_point"}
    assert all(loss.dim() == 0 and loss.isfinite() for loss in losses.values())
    assert losses == expected
    assert float(losses["loss_category"]) != float(on_training_grids["loss_category"])
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_classes": 7}, "MODEL.SEM_SEG_HEAD.NUM_CLASSES is 7.*has 6 classes; set it to 6"),
        ({"num_things": 6}, "MODEL.INSTANCE_HEAD.NUM_CLASSES is 6.*has 3 thing classes.*to 3"),
    ],
)
def test_wrong_class_counts_name_the_key(changes: Dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EfficientPS(**_parts(SPACES["offset"], **changes))


def _stuff_only(**kwargs: Any) -> EfficientPS:
    parts = _parts(SPACES["one class"])  # the heads of another space, which are exchanged
    space = PanopticLabelSpace({}, {4: 0})
    kwargs = {"fusion": AdaptiveFusion(label_space=space), **kwargs}
    return EfficientPS(
        **{**parts, "instance_head": NoInstanceHead(), "label_space": space, **kwargs}
    )


@pytest.mark.parametrize("fusion", FUSIONS)
def test_only_stuff(fusion: type) -> None:
    model = _stuff_only(fusion=fusion(label_space=PanopticLabelSpace({}, {4: 0})))
    sample = {
        **_image(),
        "sem_seg": torch.zeros(SIZE, dtype=torch.int64),
        "instances": Instances(SIZE),
        "instance_ignore": torch.zeros(16, 24, dtype=torch.bool),
    }
    losses = model([sample])
    assert set(losses) == {"loss_sem_seg"} and losses["loss_sem_seg"].isfinite()
    with torch.no_grad():
        result = model.eval()([{**_image((41, 70)), "height": 82, "width": 140}])[0]
    assert result["sem_seg"].shape == (1, 82, 140)
    assert len(result["instances"]) == 0
    _check_instances(result, model.label_space, (82, 140))
    _check_panoptic(result, model.label_space, (82, 140))
    assert (result["panoptic_seg"][0] == 1).all()


def test_nothing_to_learn_names_the_key() -> None:
    with pytest.raises(ValueError, match="MODEL.SEM_SEG_HEAD.NAME is ''.*nothing to learn"):
        _stuff_only(sem_seg_head=None, outputs=["instances"])


def test_unknown_output_names_the_key() -> None:
    with pytest.raises(ValueError, match=r"MODEL.OUTPUTS names \['depth'\]"):
        _model("offset", outputs=["panoptic_seg", "depth"])
