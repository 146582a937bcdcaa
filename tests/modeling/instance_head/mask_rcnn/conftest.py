"""Small Mask R-CNN heads with features and ground truth for them."""

from typing import Any, Callable, Dict, List, Sequence, Tuple

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.structures import BitMasks, Boxes, Instances

from effps_solo import add_effps_solo_config
from effps_solo.modeling.instance_head import MaskRCNNInstanceHead

NAMES = ["p2", "p3", "p4", "p5"]
SIZE = (64, 96)
NUM_CLASSES = 3
Box = Tuple[int, int, int, int]
Features = Dict[str, torch.Tensor]


def _head(**keys: Any) -> MaskRCNNInstanceHead:
    """A head of 32 channels; ``keys`` are those of MODEL, e.g. ``ROI_MASK_HEAD={"NORM": "GN"}``."""
    torch.manual_seed(0)
    cfg = get_cfg()
    add_effps_solo_config(cfg)
    model = cfg.MODEL
    model.INSTANCE_HEAD.NUM_CLASSES = NUM_CLASSES
    model.ANCHOR_GENERATOR.SIZES = [[8], [16], [32], [64]]
    model.RPN.POST_NMS_TOPK_TRAIN = model.RPN.POST_NMS_TOPK_TEST = 50
    model.ROI_BOX_HEAD.FC_DIM = 64
    model.ROI_MASK_HEAD.CONV_DIM = 32
    model.ROI_MASK_HEAD.NUM_CONV = 2
    for node, values in keys.items():
        for key, value in values.items():
            model[node][key] = value
    shapes = {n: ShapeSpec(channels=32, stride=4 << i) for i, n in enumerate(NAMES)}
    return MaskRCNNInstanceHead(cfg, shapes)


def _features(count: int = 2, seed: int = 0) -> Features:
    torch.manual_seed(seed)
    return {
        n: torch.randn(count, 32, SIZE[0] // (4 << i), SIZE[1] // (4 << i))
        for i, n in enumerate(NAMES)
    }


def _truth(boxes: Sequence[Box]) -> Instances:
    """Filled boxes; classes go round."""
    instances = Instances(SIZE)
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes = torch.arange(len(boxes)) % NUM_CLASSES
    masks = torch.zeros(len(boxes), *SIZE, dtype=torch.bool)
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        masks[k, y0:y1, x0:x1] = True
    instances.gt_masks = BitMasks(masks)
    instances.gt_stride4_masks = masks[:, ::4, ::4]  # there, and of no use to this head
    return instances


@pytest.fixture
def make_head() -> Callable[..., MaskRCNNInstanceHead]:
    return _head


@pytest.fixture
def make_features() -> Callable[..., Features]:
    """p2 .. p5 of ``count`` images of 64 x 96 pixels, 32 channels."""
    return _features


@pytest.fixture
def make_truth() -> Callable[[List[Box]], Instances]:
    return _truth


@pytest.fixture
def lively() -> MaskRCNNInstanceHead:
    """A head in eval mode whose boxes, scores and masks differ from proposal to proposal."""
    head = _head().eval()
    torch.manual_seed(1)
    predictor, mask_head = head.roi_heads.box_predictor, head.roi_heads.mask_head
    torch.nn.init.normal_(predictor.cls_score.weight, std=1.0)
    torch.nn.init.normal_(predictor.bbox_pred.weight, std=0.5)
    torch.nn.init.normal_(mask_head.predictor.weight, std=1.0)
    return head
