"""One call from an image to the model's output."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode

from effps_solo.engine import Trainer, load_config
from effps_solo.errors import CheckpointError, ConfigError
from effps_solo.predictor import Predictor


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


def test_without_weights(cfg: CfgNode) -> None:
    cfg.MODEL.WEIGHTS = ""
    with pytest.raises(ConfigError, match="MODEL.WEIGHTS is empty"):
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
