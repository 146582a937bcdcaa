"""Detectron2's networks, made to find as many things as asked for."""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode

from effps_solo.benchmark import baselines
from effps_solo.benchmark.images import synthetic_image
from effps_solo.config import load_config
from effps_solo.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("fresh_loggers")


@pytest.fixture
def cfg(tiny_config: Path) -> CfgNode:
    return load_config(str(tiny_config))


@pytest.fixture
def inputs() -> list:
    image = torch.from_numpy(synthetic_image((64, 96), 0)).permute(2, 0, 1)
    return [{"image": image, "height": 64, "width": 96}]


@torch.inference_mode()
def test_panoptic_fpn(cfg: CfgNode, inputs: list) -> None:
    model = baselines.build_panoptic_fpn(cfg, 7).eval()
    # Its published 46 million less the classes that COCO has more: 80 things, 54 kinds of stuff.
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    assert 44.5 < millions < 46
    with baselines.settled_statistics(model):
        model(inputs)
    # Else a handful, as the activations of an untrained network grow from block to block.
    images = model.preprocess_image(inputs)
    features = model.backbone(images.tensor)
    assert len(model.proposal_generator(images, features)[0][0]) > 300
    assert all(0.1 < x.std() < 10 for x in features.values())
    found = model(inputs)[0]["instances"]
    baselines.find_only_the_best(model, lambda: found.scores)
    again = model(inputs)[0]["instances"]
    assert len(found) == 7
    assert torch.equal(again.scores, found.scores) and torch.equal(
        again.pred_boxes.tensor, found.pred_boxes.tensor
    )
    assert model.roi_heads.box_predictor.test_score_thresh > 0


@torch.inference_mode()
def test_panoptic_fpn_without_things(cfg: CfgNode, inputs: list) -> None:
    model = baselines.build_panoptic_fpn(cfg, 0).eval()
    result = model(inputs)[0]
    assert len(result["instances"]) == 0 and result["panoptic_seg"][0].shape == (64, 96)


@pytest.mark.parametrize("count", [0, 3])
@torch.inference_mode()
def test_panoptic_deeplab(cfg: CfgNode, inputs: list, count: int) -> None:
    pytest.importorskip("detectron2.projects.panoptic_deeplab")
    from detectron2.projects.panoptic_deeplab import panoptic_seg

    model = baselines.build_panoptic_deeplab(cfg, count).eval()
    with baselines.settled_statistics(model):
        model(inputs)
    centers = []
    original = panoptic_seg.get_panoptic_segmentation

    def remember(*args: object, **kwargs: object) -> object:
        result = original(*args, **kwargs)
        centers.append(result[1].shape[1])
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panoptic_seg, "get_panoptic_segmentation", remember)
        result = model(inputs)[0]["panoptic_seg"]
    assert result[0].shape == (64, 96) and result[1] is None
    assert centers == [count]


def test_a_detectron2_without_panoptic_deeplab(
    cfg: CfgNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "detectron2.projects.panoptic_deeplab", None)
    with pytest.raises(ConfigError, match="not part of this Detectron2"):
        baselines.build_panoptic_deeplab(cfg, 0)
