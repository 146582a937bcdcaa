"""A model folder in a place without its data does all that the model did where it was trained."""

import logging
from pathlib import Path
from typing import Any, Callable, List

import numpy as np
import pytest
import torch
import yaml
from detectron2.data import DatasetCatalog

from effps_solo import load
from effps_solo.checkpoint.checkpointer import EffPSCheckpointer
from effps_solo.checkpoint.model_folder import read_classes
from effps_solo.checkpoint.safe_loading import safe_load_checkpoint
from effps_solo.config import classes_of_data, load_config, read_config
from effps_solo.engine import Trainer
from effps_solo.inference.model_config import read_model_config
from effps_solo.inference.pack import pack
from effps_solo.utils.errors import CheckpointError

NOISE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
REORDERED = ((90, "sky", 0), (3, "car", 1), (21, "road", 0), (7, "person", 1))
OTHERS = ((3, "car", 1), (5, "bus", 1), (7, "walker", 1), (90, "sky", 0), (21, "road", 0))


def class_names(model: Any, image: np.ndarray) -> np.ndarray:
    """(H, W) names of the classes, of things with their score."""
    result = model(image)
    names = np.full(result.panoptic.shape, "void", dtype=object)
    for segment in result.segments:
        names[result.panoptic == segment.id] = f"{segment.category} {segment.score:.4f}"
    return names


def test_the_same_map_where_the_data_are_not(
    tiny_config: Path, lively_weights: Path, lively_model: Path
) -> None:
    assert "tiny_train" not in DatasetCatalog
    found = load(lively_model)(NOISE)
    assert [c.name for c in load(lively_model).classes] == ["person", "car", "road", "sky"]
    expected = load(tiny_config, overrides=["MODEL.WEIGHTS", str(lively_weights)])(NOISE)
    assert len(found.segments) > 3 and (found.panoptic == expected.panoptic).all()
    assert [s.score for s in found.segments] == [s.score for s in expected.segments]
    assert str(tiny_config.parent / "tiny") not in (lively_model / "config.yaml").read_text()


def test_weights_that_know_their_classes_need_no_data(
    tiny_config: Path, lively_model: Path, tiny_set: Path
) -> None:
    """MODEL.WEIGHTS of a config whose data are gone."""
    expected = load(lively_model)(NOISE).panoptic
    tiny_set.rename(tiny_set.with_name("elsewhere"))
    for weights in (lively_model, lively_model / "model.safetensors"):
        model = load(tiny_config, overrides=["MODEL.WEIGHTS", str(weights)])
        assert (model(NOISE).panoptic == expected).all()


def test_data_in_another_order(
    tiny_config: Path, lively_model: Path, other_classes: Callable[..., List[str]]
) -> None:
    """Each channel goes to where its class is now: the same classes and scores at each pixel."""
    from effps_solo.inference.load import PanopticModel
    from effps_solo.inference.predictor import Predictor, for_panoptic_maps

    words = other_classes(*REORDERED)
    cfg = load_config(str(tiny_config), [*words, "MODEL.WEIGHTS", str(lively_model)])
    for_panoptic_maps(cfg)
    model = PanopticModel(Predictor(cfg))
    assert [c.name for c in model.classes] == ["car", "person", "sky", "road"]
    assert (class_names(model, NOISE) == class_names(load(lively_model), NOISE)).all()


def test_data_with_other_classes_are_refused(
    tiny_config: Path, lively_model: Path, other_classes: Callable[..., List[str]]
) -> None:
    from effps_solo.inference.predictor import Predictor

    words = other_classes(*OTHERS)
    cfg = load_config(str(tiny_config), [*words, "MODEL.WEIGHTS", str(lively_model)])
    with pytest.raises(
        CheckpointError,
        match=r"was trained for other classes: the checkpoint has 4 classes \(things person, car; stuff "
        r"road, sky\), the data 5 classes \(things car, bus, walker; stuff sky, road\)",
    ):
        Predictor(cfg)


def test_a_training_with_other_classes_starts_from_a_folder(
    tiny_config: Path,
    lively_model: Path,
    other_classes: Callable[..., List[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    words = other_classes(*OTHERS)
    cfg = load_config(str(tiny_config), [*words, "MODEL.WEIGHTS", str(lively_model)])
    trainer = Trainer(cfg)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    with caplog.at_level(logging.INFO, "effps_solo"):
        trainer.resume_or_load(resume=False)
    assert (
        "3 of 5 classes taken over by name (car, sky, road); initialised anew: bus, walker; left out: "
        "person" in caplog.text
    )
    saved, now = (
        safe_load_checkpoint(str(lively_model / "model.safetensors")),
        trainer.model.state_dict(),
    )
    for key, here, there in (
        ("sem_seg_head.predictor.weight", [0, 3, 4], [1, 3, 2]),
        ("instance_head.grid_branches.category_predictor.weight", [0], [1]),
    ):
        fresh = [i for i in range(len(now[key])) if i not in here]
        assert torch.equal(now[key][here], saved[key][there])
        assert torch.equal(now[key][fresh], before[key][fresh])
    key = "instance_head.grid_branches.kernel_predictor.weight"
    assert torch.equal(now[key], saved[key]) and not torch.equal(before[key], saved[key])
    trainer.train()
    folder = Path(cfg.OUTPUT_DIR) / "model"
    assert [c.name for c in read_classes(folder)] == ["car", "bus", "walker", "sky", "road"]


def test_thresholds_licence_and_kernels_in_16_bits(
    tiny_config: Path, lively_weights: Path, lively_model: Path, tmp_path: Path
) -> None:
    """A folder packed once more, with other settings."""
    words = ["MODEL.PANOPTIC_FUSION.SCORE_THRESH", "0.25"]
    pack(read_model_config(lively_model, words), tmp_path / "b", half=True, licence="CC-BY-4.0")
    card = (tmp_path / "b" / "README.md").read_text()
    assert "| licence | CC-BY-4.0 |" in card and "SCORE_THRESH 0.25," in card
    assert "| trained on | tiny_train |" in card and "kernels in 16 bits" in card
    whole, half = (
        safe_load_checkpoint(str(folder / "model.safetensors"))
        for folder in (lively_model, tmp_path / "b")
    )
    assert whole.keys() == half.keys()
    for name, tensor in half.items():
        is_kernel = tensor.is_floating_point() and tensor.dim() > 1
        assert tensor.dtype == (torch.float16 if is_kernel else whole[name].dtype)
    assert load(tmp_path / "b").confidence_threshold == 0.25


def test_the_averaged_weights_are_packed(tiny_config: Path, tmp_path: Path) -> None:
    cfg = load_config(str(tiny_config))
    torch.manual_seed(0)
    model, averaged = Trainer.build_model(cfg), Trainer.build_model(cfg)
    checkpointer = EffPSCheckpointer(model, str(tmp_path / "run"), classes=classes_of_data(cfg))
    (tmp_path / "run").mkdir()
    checkpointer.save("model_final", ema={"model": averaged.state_dict(), "num_updates": 1})
    key = "sem_seg_head.predictor.weight"
    for use_ema, expected in (("True", averaged), ("False", model)):
        words = ["OUTPUT_DIR", str(tmp_path / "run"), "TEST.USE_EMA", use_ema]
        pack(read_model_config(tiny_config, words), tmp_path / "m")
        state = safe_load_checkpoint(str(tmp_path / "m" / "model.safetensors"))
        assert torch.equal(state[key], expected.state_dict()[key])


def test_nothing_of_the_config_is_lost(tiny_config: Path, lively_model: Path) -> None:
    ours = yaml.safe_load(read_config(str(lively_model / "config.yaml")).dump())
    theirs = yaml.safe_load(read_config(str(tiny_config)).dump())
    for content in (ours, theirs):
        del content["OUTPUT_DIR"], content["DATASETS"]["PANOPTIC"]
        for head in ("SEM_SEG_HEAD", "INSTANCE_HEAD"):
            del content["MODEL"][head]["NUM_CLASSES"]
    assert ours == theirs


def test_weights_of_another_network_are_not_packed(
    tiny_config: Path, lively_weights: Path, tmp_path: Path
) -> None:
    words = ["MODEL.WEIGHTS", str(lively_weights), "MODEL.SOLOV2.CHANNELS", "64"]
    with pytest.raises(CheckpointError, match="lively.pth' is of another network"):
        pack(read_model_config(tiny_config, words), tmp_path / "m")
    assert not (tmp_path / "m").exists()
