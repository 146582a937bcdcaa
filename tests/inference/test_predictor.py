"""One call from an image to the model's output."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances

from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.inference.predictor import (
    Predictor,
    for_panoptic_maps,
    paste_things,
)
from effps_solo.utils.errors import CheckpointError, ConfigError


@pytest.fixture
def cfg(tiny_config: Path, tmp_path: Path) -> CfgNode:
    """With weights of a network as it was made."""
    torch.manual_seed(0)
    cfg = load_config(str(tiny_config), ["MODEL.WEIGHTS", str(tmp_path / "weights.pth")])
    torch.save({"model": Trainer.build_model(cfg).state_dict()}, cfg.MODEL.WEIGHTS)
    return cfg


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(64, 96), (50, 70), (7, 5), (1, 1), (33, 130)])
def test_outputs_in_the_frame_of_the_image(cfg: CfgNode, size: Any) -> None:
    output = Predictor(cfg)(picture(*size))
    assert set(output) == {"panoptic_seg", "sem_seg", "instances"}
    ids, segments = output["panoptic_seg"]
    assert ids.shape == size and output["sem_seg"].shape == (4, *size)
    assert output["instances"].image_size == size
    assert set(ids.unique().tolist()) - {0} == {s["id"] for s in segments}
    assert sum(s["area"] for s in segments) == int((ids > 0).sum())


def test_the_same_as_the_model_itself(cfg: CfgNode) -> None:
    predictor, image = Predictor(cfg), picture(50, 70)
    inputs = {"image": torch.from_numpy(image.transpose(2, 0, 1).copy()), "height": 50, "width": 70}
    model = predictor.model
    assert not model.training
    with torch.no_grad():
        expected = model([inputs])[0]["sem_seg"]
    output = predictor(image)["sem_seg"]
    assert torch.equal(output, expected) and not output.requires_grad


def test_the_scale_of_the_test_changes_the_input_not_the_frame(cfg: CfgNode) -> None:
    image = picture(40, 60)
    plain = Predictor(cfg)(image)["sem_seg"]
    cfg.INPUT.TEST_SCALE = 2.0
    doubled = Predictor(cfg)(image)["sem_seg"]
    assert doubled.shape == plain.shape and not torch.allclose(doubled, plain)


def test_other_memory_layouts_of_the_image(cfg: CfgNode) -> None:
    predictor, image = Predictor(cfg), picture(40, 60)
    expected = predictor(image[:, ::-1].copy())["sem_seg"]
    assert torch.equal(predictor(image[:, ::-1])["sem_seg"], expected)


def test_the_image_stays_as_it_is(cfg: CfgNode) -> None:
    image = picture(40, 60)
    before = image.copy()
    Predictor(cfg)(image)
    assert (image == before).all()


def test_only_what_is_asked_for(cfg: CfgNode) -> None:
    cfg.MODEL.OUTPUTS = ["panoptic_seg"]
    assert set(Predictor(cfg)(picture(40, 60))) == {"panoptic_seg"}


def test_panoptic_map_with_and_without_a_semantic_head(cfg: CfgNode) -> None:
    predictor, image = Predictor(cfg), picture(40, 60)
    ids, segments = predictor.panoptic(image)
    expected = predictor(image)["panoptic_seg"]
    assert np.array_equal(ids, expected[0]) and segments == expected[1] and len(segments) > 0
    cfg.MODEL.SEM_SEG_HEAD.NAME, cfg.MODEL.OUTPUTS = "", ["instances"]
    predictor = Predictor(cfg)
    assert set(predictor(image)) == {"instances"}
    ids, segments = predictor.panoptic(image)
    assert ids.shape == (40, 60) and ids.dtype == np.int32
    assert all(s["isthing"] for s in segments)


def test_a_network_that_takes_no_threshold(cfg: CfgNode) -> None:
    predictor = Predictor(cfg, model=torch.nn.Identity())
    with pytest.raises(
        ConfigError, match="Identity takes its confidence threshold from its config"
    ):
        predictor.panoptic(picture(40, 60), 0.5)


def test_classes(cfg: CfgNode) -> None:
    names = {c.dataset_id: (c.name, c.isthing) for c in Predictor(cfg).classes}
    assert names == {21: ("road", False), 7: ("person", True), 90: ("sky", False), 3: ("car", True)}


def test_only_panoptic_maps(cfg: CfgNode) -> None:
    for_panoptic_maps(cfg)
    assert cfg.MODEL.OUTPUTS == ["panoptic_seg"]
    cfg.MODEL.SEM_SEG_HEAD.NAME = ""
    for_panoptic_maps(cfg)
    assert cfg.MODEL.OUTPUTS == ["instances"]


def test_pasted_things_worked_by_hand() -> None:
    instances = Instances((2, 8))
    instances.scores = torch.tensor([0.6, 0.9, 0.8, 0.7, 0.4])
    instances.pred_classes = torch.tensor([5, 6, 7, 5, 5])
    instances.pred_masks = torch.zeros(5, 2, 8, dtype=torch.bool)
    for k, columns in enumerate([(3, 5), (0, 4), (2, 6), (1, 5), (6, 8)]):
        instances.pred_masks[k, :, slice(*columns)] = True
    ids, segments = paste_things(instances, score_thresh=0.5, overlap_thresh=0.5)
    # Best first: 0 .. 4; 4 .. 6 of the second, half of which is taken; the others are taken wholly.
    assert ids.tolist() == [[1, 1, 1, 1, 2, 2, 0, 0]] * 2 and ids.dtype == torch.int32
    assert [(s["id"], s["category_id"], s["isthing"], s["area"]) for s in segments] == [
        (1, 6, True, 8),
        (2, 7, True, 4),
    ]
    assert [s["score"] for s in segments] == pytest.approx([0.9, 0.8])
    # Nothing is dropped for its overlap: what holds no pixel is no segment.
    ids, segments = paste_things(instances, score_thresh=0.3, overlap_thresh=1.0)
    assert sorted(set(ids.unique().tolist()) - {0}) == [s["id"] for s in segments]
    assert [s["score"] for s in segments] == pytest.approx([0.9, 0.8, 0.4])
    ids, segments = paste_things(instances[:0], 0.5, 0.5)
    assert segments == [] and not ids.any()


def test_without_weights(cfg: CfgNode) -> None:
    cfg.MODEL.WEIGHTS = ""
    with pytest.raises(CheckpointError, match="'' are none of a trained model"):
        Predictor(cfg)


def test_missing_weights(cfg: CfgNode, tmp_path: Path) -> None:
    cfg.MODEL.WEIGHTS = str(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="none.pth' does not exist"):
        Predictor(cfg)


def test_weights_that_run_code_are_refused(cfg: CfgNode, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    class Hostile:
        def __reduce__(self) -> Any:
            return Path.touch, (trace,)

    torch.save({"model": Hostile()}, cfg.MODEL.WEIGHTS)
    with pytest.raises(CheckpointError, match="refused"):
        Predictor(cfg)
    assert not trace.exists()
