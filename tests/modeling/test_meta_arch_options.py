"""What a config may exchange: backbones x instance heads x fusions, no semantic head, and their sizes."""

from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

from effps_solo import EfficientPS, add_effps_solo_config
from effps_solo.config.files import load_config_file
from effps_solo.data.object_masks import ObjectMasks
from effps_solo.modeling.instance_head import PublishedSOLOv2InstanceHead
from effps_solo.modeling.instance_head.solov2.published import PublishedDecoder
from effps_solo.utils.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SIZE = (64, 96)
BACKBONES = ["build_efficientnet_two_way_fpn_backbone", "build_resnet_fpn_backbone"]
HEADS = ["SOLOv2InstanceHead", "MaskRCNNInstanceHead"]
FUSIONS = ["AdaptiveFusion", "HeuristicFusion"]
SOLOV2_LOSSES = {"loss_category", "loss_mask"}
LOSSES = {
    "SOLOv2InstanceHead": SOLOV2_LOSSES,
    "MaskRCNNInstanceHead": {
        "loss_rpn_cls",
        "loss_rpn_loc",
        "loss_cls",
        "loss_box_reg",
        "loss_mask",
    },
}


def _cfg(backbone: str = BACKBONES[0], head: str = HEADS[0], fusion: str = FUSIONS[0]) -> CfgNode:
    """A small network over the classes of Cityscapes."""
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    cfg.DATASETS.TRAIN = ("cityscapes_fine_panoptic_train",)
    model = cfg.MODEL
    model.META_ARCHITECTURE, model.DEVICE, model.BACKBONE.NAME = "EfficientPS", "cpu", backbone
    model.EFFICIENTNET.NAME = "tf_efficientnet_lite0"
    model.RESNETS.DEPTH, model.RESNETS.RES2_OUT_CHANNELS = 18, 64
    model.RESNETS.NORM = "BN"  # frozen statistics of an untrained network explode
    model.TWO_WAY_FPN.OUT_CHANNELS = model.FPN.OUT_CHANNELS = 32
    model.SEM_SEG_HEAD.NUM_CLASSES, model.INSTANCE_HEAD.NUM_CLASSES = 19, 8
    model.SEM_SEG_HEAD.CONVS_DIM = 32
    model.INSTANCE_HEAD.NAME, model.PANOPTIC_FUSION.NAME = head, fusion
    model.SOLOV2.CHANNELS = model.SOLOV2.KERNEL_DIM = model.SOLOV2.MASK_CHANNELS = 32
    model.SOLOV2.NUM_CONVS = 1
    model.SOLOV2.NUM_GRIDS = [[8, 12], [6, 10], [5, 7], [3, 4], [2, 3]]
    model.ROI_BOX_HEAD.FC_DIM = model.ROI_MASK_HEAD.CONV_DIM = 32
    return cfg


@pytest.fixture(autouse=True)
def the_same_weights() -> None:
    """With some random ones, no instance has a score above the threshold."""
    torch.manual_seed(0)


def _excite(model: EfficientPS) -> None:
    """Make an untrained instance head fire, with masks that differ."""
    torch.manual_seed(0)
    head: Any = model.instance_head
    if hasattr(head, "grid_branches"):
        nn.init.constant_(head.grid_branches.category_predictor.bias, 0.0)
        nn.init.normal_(head.grid_branches.kernel_predictor.weight, std=0.2)
    else:
        nn.init.normal_(head.roi_heads.box_predictor.cls_score.weight, std=3.0)
        nn.init.normal_(head.roi_heads.mask_head.predictor.weight, std=1.0)
        nn.init.constant_(head.roi_heads.mask_head.predictor.bias, 1.0)


def _image(seed: int = 0, size: Tuple[int, int] = SIZE) -> Dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {"image": torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator)}


def _sample(boxes: List[List[int]], size: Tuple[int, int] = SIZE) -> Dict[str, Any]:
    """A training sample as the mapper makes it; filled boxes of class 0, the rest is road."""
    objects = torch.zeros(size, dtype=torch.int32)
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        objects[y0:y1, x0:x1] = k + 1
    instances = Instances(size)
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    instances.gt_boxes = Boxes(corners)
    instances.gt_centers = (corners[:, :2] + corners[:, 2:] - 1) / 2
    instances.gt_areas = (corners[:, 2:] - corners[:, :2]).prod(dim=1).long()
    instances.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
    ids = torch.arange(1, len(boxes) + 1)
    instances.gt_masks = ObjectMasks(objects, ids)
    instances.gt_stride4_masks = objects[::4, ::4] == ids[:, None, None]
    return {
        **_image(size=size),
        "sem_seg": torch.where(objects > 0, 11, 0),
        "instances": instances,
        "instance_ignore": torch.zeros(*objects[::4, ::4].shape, dtype=torch.bool),
    }


BOXES = [[4, 4, 20, 24], [32, 8, 80, 60]]


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_combination_makes_all_outputs(backbone: str, head: str, fusion: str) -> None:
    cfg = _cfg(backbone, head, fusion)
    cfg.MODEL.PANOPTIC_FUSION.SCORE_THRESH = 0.2
    model = build_model(cfg).eval()
    assert set(model.backbone.output_shape()) == {"p2", "p3", "p4", "p5", "p6"}
    _excite(model)
    with torch.no_grad():
        results = model([{**_image(), "height": 70, "width": 111}, _image(1)])
    for result, size in zip(results, [(70, 111), SIZE]):
        panoptic, segments = result["panoptic_seg"]
        assert panoptic.shape == size and panoptic.dtype == torch.int32
        assert result["sem_seg"].shape == (19, *size)
        assert len(result["instances"]) > 0
        assert result["instances"].pred_masks.shape[1:] == size
        assert all(c in range(11, 19) for c in result["instances"].pred_classes.tolist())
        for segment in segments:
            assert segment["area"] == int((panoptic == segment["id"]).sum()) > 0
    assert any(s["isthing"] for result in results for s in result["panoptic_seg"][1])


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_combination_is_trained(backbone: str, head: str) -> None:
    cfg = _cfg(backbone, head)
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    model = build_model(cfg).train()
    losses = model([_sample(BOXES), _sample(BOXES[:1])])
    assert set(losses) == {"loss_sem_seg", *LOSSES[head]}
    sum(losses.values()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@pytest.mark.parametrize("head", HEADS)
def test_a_batch_without_objects_touches_every_parameter(head: str) -> None:
    model = build_model(_cfg(head=head)).train()
    losses = model([_sample([]), _sample([])])
    sum(losses.values()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
    assert all(b.isfinite().all() for b in model.buffers())


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("size", [(32, 32), (20, 27), (32, 64)])
def test_one_image_below_32_pixels(head: str, size: Tuple[int, int]) -> None:
    """Its coarsest level is one point, which has no statistics for a batch norm to train on."""
    model = build_model(_cfg(head=head)).train()
    losses = model([_sample([[4, 4, 20, 12]], size)])
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values()) and float(losses["loss_mask"]) > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert all(b.isfinite().all() for b in model.buffers())
    with torch.no_grad():
        result = model.eval()([_image(size=size)])[0]
    assert result["sem_seg"].shape == (19, *size)


@pytest.mark.parametrize("boxes", [BOXES, []], ids=["objects", "empty"])
@pytest.mark.parametrize("head", HEADS)
def test_validation_losses(head: str, boxes: List[List[int]]) -> None:
    """In evaluation mode on whole images; every module stays in its mode, and every norm as it is."""
    model = build_model(_cfg(head=head)).eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        losses = model.losses([_sample(boxes), _sample([], (41, 70))], whole_images=True)
    assert set(losses) == {"loss_sem_seg", *LOSSES[head]}
    assert all(loss.dim() == 0 and loss.isfinite() for loss in losses.values())
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def _with_detectron2s_semantic_head(**keys: Any) -> CfgNode:
    cfg = _cfg()
    node = cfg.MODEL.SEM_SEG_HEAD
    node.NAME, node.NORM = "SemSegFPNHead", "GN"
    for key, value in keys.items():
        node[key] = value
    return cfg


@pytest.mark.parametrize("void", [False, True])
def test_detectron2s_semantic_head_is_trained(void: bool) -> None:
    """Also on images that are void as a whole, whose mean loss would be NaN."""
    model = build_model(_with_detectron2s_semantic_head()).train()
    batch = [_sample(BOXES), _sample(BOXES[:1])]
    for x in batch if void else batch[:1]:
        x["sem_seg"][:] = 255
    losses = model(batch)
    assert set(losses) == {"loss_sem_seg", *SOLOV2_LOSSES}
    assert all(loss.isfinite() for loss in losses.values())
    assert (losses["loss_sem_seg"].item() == 0) == void
    sum(losses.values()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        is_semantic = key.startswith("sem_seg_head.")
        assert bool(parameter.grad.any()) != (void and is_semantic), key


def test_detectron2s_semantic_head_predicts() -> None:
    model = build_model(_with_detectron2s_semantic_head()).eval()
    _excite(model)
    with torch.no_grad():
        (result,) = model([{**_image(size=(41, 70)), "height": 70, "width": 111}])
        logits = model.sem_seg_head(model.backbone(model._preprocess([_image()]).tensor))
    assert logits.shape == (1, 19, SIZE[0] // 4, SIZE[1] // 4)
    assert result["panoptic_seg"][0].shape == (70, 111) and result["panoptic_seg"][1]
    assert result["sem_seg"].shape == (19, 70, 111)


def test_a_semantic_head_of_another_stride_names_the_key() -> None:
    with pytest.raises(ConfigError, match="COMMON_STRIDE is 8; EfficientPS needs 4"):
        build_model(_with_detectron2s_semantic_head(COMMON_STRIDE=8))


def test_mask_r_cnn_on_five_levels() -> None:
    """The usual ResNet-FPN: proposals on p2 .. p6."""
    cfg = _cfg(BACKBONES[1], HEADS[1])
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    model = build_model(cfg).train()
    assert all(loss.isfinite() for loss in model([_sample(BOXES)]).values())


@pytest.mark.parametrize("head", HEADS)
def test_without_a_semantic_head_there_are_instances_only(head: str) -> None:
    cfg = _cfg(BACKBONES[1], head)
    cfg.MODEL.SEM_SEG_HEAD.NAME = ""
    cfg.MODEL.OUTPUTS = ["instances"]
    model = build_model(cfg)
    assert model.sem_seg_head is None
    assert set(model.train()([_sample(BOXES)])) == LOSSES[head]
    _excite(model)
    with torch.no_grad():
        result = model.eval()([_image()])[0]
    assert set(result) == {"instances"} and len(result["instances"]) > 0


@pytest.mark.parametrize("outputs", [["panoptic_seg"], ["instances", "sem_seg"], []])
def test_without_a_semantic_head_other_outputs_name_the_key(outputs: List[str]) -> None:
    cfg = _cfg()
    cfg.MODEL.SEM_SEG_HEAD.NAME = ""
    cfg.MODEL.OUTPUTS = outputs
    with pytest.raises(ConfigError, match=r"MODEL.OUTPUTS is .*must be \['instances'\]"):
        build_model(cfg)


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _model_of(path: str) -> EfficientPS:
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    load_config_file(cfg, str(CONFIGS / path))
    cfg.MODEL.DEVICE = "cpu"
    return build_model(cfg)


@pytest.mark.parametrize(
    "path, fpn, total",
    [
        # Published: 4,357 more, the background channels of box regression and masks.
        ("effps_b5_mask_rcnn_released.yaml", 3557376, 42988744 - 4357),
        ("effps_b5_mask_rcnn.yaml", 1471488, 40902856 - 4357),
    ],
)
def test_parameters_of_efficientps(path: str, fpn: int, total: int) -> None:
    model: Any = _model_of(f"cityscapes/{path}")
    bottom_up = _count(model.backbone.bottom_up)
    assert (bottom_up, _count(model.backbone) - bottom_up) == (23148912, fpn)
    assert _count(model.sem_seg_head) == 1206547
    head = model.instance_head
    assert _count(head.proposal_generator) == 593935
    boxes = _count(head.roi_heads.box_head) + _count(head.roi_heads.box_predictor)
    assert boxes == 13941805 - 4 * (1024 + 1)
    assert _count(head.roi_heads.mask_head) == 540169 - (256 + 1)
    assert _count(model) == total


def test_the_released_layout() -> None:
    model: Any = _model_of("cityscapes/effps_b5_mask_rcnn_released.yaml")
    rpn, heads = model.instance_head.proposal_generator, model.instance_head.roi_heads
    assert rpn.in_features == heads.box_in_features == ["p2", "p3", "p4", "p5"]
    assert rpn.anchor_generator.offset == 0.5 and rpn.anchor_boundary_thresh == 0
    assert [float(a[1, 2] - a[1, 0]) for a in rpn.anchor_generator.cell_anchors] == [
        32,
        64,
        128,
        256,
    ]
    for pooler in (*heads.box_pooler.level_poolers, *heads.mask_pooler.level_poolers):
        assert not pooler.aligned and pooler.sampling_ratio == 2
    assert heads.box_predictor.test_score_thresh == model.fusion.thresholds.score == 0.5
    assert model.fusion.instance_logit_scale == 4 and model.fusion.void_unclaimed_things


def test_parameters_of_solov2() -> None:
    model: Any = _model_of("coco/solov2_r50_full.yaml")
    head, decoder = model.instance_head, model.instance_head.decoder
    assert isinstance(head, PublishedSOLOv2InstanceHead) and isinstance(decoder, PublishedDecoder)
    assert not head.has_position_prior
    assert (
        head.cells.num_grids == head.test_cells.num_grids == [(s, s) for s in (40, 36, 24, 16, 12)]
    )
    assert head.scale_ranges == [(1, 96), (48, 192), (96, 384), (192, 768), (384, 2048)]
    assert head.cells.strides.unique_consecutive().tolist() == [8, 16, 32]
    assert (decoder.score_thresh, decoder.nms_pre, decoder.update_thresh) == (0.1, 500, 0.05)
    assert (decoder.nms_kernel, decoder.nms_sigma, decoder.max_detections) == ("gaussian", 2.0, 100)
    assert (head.category_loss_weight, head.mask_loss_weights[0], head.center_sigma) == (
        1.0,
        3.0,
        0.2,
    )
    assert (_count(head.grid_branches), _count(head.mask_branch)) == (18081104, 1659392)
    assert _count(model) == 46539792
    # Frozen norms keep their weights as buffers.
    frozen = [b for k, b in model.named_buffers() if k.endswith(("norm.weight", "norm.bias"))]
    assert _count(model) + sum(b.numel() for b in frozen) == 46592912
    assert model.input_format == "BGR" and model.pixel_mean.flatten()[0] == pytest.approx(103.53)
    assert [x.stride for x in model.backbone.output_shape().values()] == [4, 8, 16, 32, 64]
