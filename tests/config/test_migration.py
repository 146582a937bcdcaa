"""Config files and checkpoints of older versions: what they say still holds, and newer ones are told of."""

import copy
import os
from pathlib import Path
from typing import Any, Dict, Sequence

import numpy as np
import pytest
import torch
import yaml
from detectron2.config import get_cfg

from effps_solo import load
from effps_solo.checkpoint.model_folder import WEIGHTS_NAME
from effps_solo.checkpoint.safe_loading import safe_load_checkpoint
from effps_solo.config import migration, read_config
from effps_solo.config.files import load_config_file
from effps_solo.config.migration import migrate, removed, renamed
from effps_solo.inference.load import SAMPLE_IMAGE, SHIPPED_MODEL
from effps_solo.utils.errors import CheckpointError, ConfigError, UserError
from effps_solo.utils.version import __version__

# The config that a training of 0.1 saved: that of the model of the package.
SAVED_BY_0_1 = Path(__file__).with_name("saved_by_0_1.yaml")
OLD = {"MODEL": {"A": {"B": 1}, "C": 2}, "SEED": 3}
# What a user of 0.1 wrote for street scenes.
HAND_WRITTEN = """
_BASE_: {root}/configs/Base-EffPS-Lite0.yaml
MODEL:
  SOLOV2:
    NORM: GN
    NUM_GRIDS: [[32, 64], [24, 48], [16, 32], [12, 24], [8, 16]]
    SCALE_RANGES: [[1, 48], [24, 96], [48, 192], [96, 384], [192, 100000]]
  PANOPTIC_FUSION: {{SCORE_THRESH: 0.2, STUFF_AREA_FRACTION: 0.002}}
DATASETS: {{TRAIN: [street_scenes_panoptic_train], TEST: [street_scenes_panoptic_val]}}
INPUT: {{CROP_SIZE: [256, 512], SCALE_RANGE: [0.8, 1.25]}}
SOLVER: {{IMS_PER_BATCH: 2, MAX_ITER: 560, CHECKPOINT_PERIOD: 280}}
SEED: 1
"""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (renamed("MODEL.C", "MODEL.D"), {"MODEL": {"A": {"B": 1}, "D": 2}, "SEED": 3}),
        (renamed("MODEL.A", "HEAD.A"), {"MODEL": {"C": 2}, "HEAD": {"A": {"B": 1}}, "SEED": 3}),
        (renamed("MODEL.A.B", "B"), {"MODEL": {"C": 2}, "B": 1, "SEED": 3}),
        (removed("MODEL.A"), {"MODEL": {"C": 2}, "SEED": 3}),
        (removed("MODEL.A.B"), {"MODEL": {"C": 2}, "SEED": 3}),
        (renamed("MODEL.NONE", "MODEL.D"), OLD),
        (renamed("SEED.NONE", "MODEL.D"), OLD),
        (removed("NONE"), OLD),
    ],
)
def test_keys_that_were_renamed_or_removed(
    change: migration.Migration, expected: Dict[str, Any]
) -> None:
    content = copy.deepcopy(OLD)
    change(content)
    assert content == expected
    empty: Dict[str, Any] = {}
    change(empty)
    assert empty == {}


@pytest.mark.parametrize(
    ("stated", "passes"),
    [
        ({}, (1, 2)),
        ({"VERSION": "0.1.3"}, (1, 2)),
        ({"VERSION": "0.2"}, (2,)),
        ({"VERSION": "0.3"}, ()),
    ],
)
def test_a_file_passes_the_migrations_of_later_versions_in_their_order(
    stated: Dict[str, str], passes: Sequence[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    steps = (
        ("0.2.0", lambda content: called.append(1)),
        ("0.3.0", lambda content: called.append(2)),
    )
    monkeypatch.setattr(migration, "MIGRATIONS", steps)
    content = {"EFFPS_SOLO": stated, "SEED": 1}
    migrate(content, "a.yaml")
    assert called == list(passes)


def test_a_config_file_of_older_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = (
        ("0.2.0", renamed("SOLVER.STEP_COUNT", "SOLVER.NUM_STEPS")),
        ("0.3.0", renamed("SOLVER.NUM_STEPS", "SOLVER.MAX_ITER")),
        ("0.3.0", removed("SOLVER.LUCK")),
    )
    monkeypatch.setattr(migration, "MIGRATIONS", steps)
    (tmp_path / "base.yaml").write_text("SOLVER: {STEP_COUNT: 5, LUCK: 1.0}\nSEED: 4\n")
    path = tmp_path / "new.yaml"
    path.write_text("_BASE_: base.yaml\nEFFPS_SOLO: {VERSION: 0.3.0}\nSOLVER: {IMS_PER_BATCH: 3}\n")
    cfg = get_cfg()
    load_config_file(cfg, str(path))
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.IMS_PER_BATCH, cfg.SEED) == (5, 3, 4)
    path.write_text("SOLVER: {STEP_COUNT: 5, MAX_ITER: 6}\n")
    message = "new.yaml': 'SOLVER.NUM_STEPS' is called 'SOLVER.MAX_ITER' now, and both"
    with pytest.raises(ConfigError, match=message):
        load_config_file(get_cfg(), str(path))


def test_saved_configs_state_the_version_that_saved_them(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text("EFFPS_SOLO: {VERSION: 0.1.0}\nSEED: 5\n")
    saved = read_config(str(tmp_path / "old.yaml")).dump()
    assert yaml.safe_load(saved)["EFFPS_SOLO"] == {"VERSION": __version__}
    (tmp_path / "new.yaml").write_text(saved)
    assert read_config(str(tmp_path / "new.yaml")).SEED == 5


def test_a_config_file_of_a_newer_version(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "new.yaml"
    path.write_text("EFFPS_SOLO: {VERSION: 99.0.0}\nSEED: 5\n")
    cfg = read_config(str(path))
    assert cfg.SEED == 5 and cfg.EFFPS_SOLO.VERSION == __version__
    (text,) = [record.getMessage() for record in caplog.records]
    assert text.startswith(f"config file '{path}' was written by effps_solo 99.0.0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("EFFPS_SOLO: {VERSION: soon}", "new.yaml': the version of effps_solo is 'soon'"),
        (
            "EFFPS_SOLO: {VERSION: 0.2}",
            "new.yaml': the version of effps_solo is 0.2; it must be text",
        ),
        ("EFFPS_SOLO: 0.2.0", "new.yaml': key 'EFFPS_SOLO' must be a section"),
        ("EFFPS_SOLO: {COLOUR: red}", "new.yaml': unknown key 'EFFPS_SOLO.COLOUR'"),
    ],
)
def test_a_version_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "new.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_config(str(tmp_path / "new.yaml"))


@pytest.fixture(params=["saved", "written by hand"])
def run_of_0_1(request: pytest.FixtureRequest, tmp_path: Path, project_root: Path) -> Path:
    """A checkpoint as a training of 0.1 left it, beside its config; the weights are those of the package."""
    saved = SAVED_BY_0_1.read_text()
    assert "EFFPS_SOLO" not in saved
    text = saved if request.param == "saved" else HAND_WRITTEN.format(root=project_root)
    (tmp_path / "config.yaml").write_text(text)
    shipped = safe_load_checkpoint(os.fspath(SHIPPED_MODEL / WEIGHTS_NAME))
    weights = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in shipped.items()
    }
    trainer = {"iteration": 559, "hooks": {}, "_trainer": {"iteration": 559, "optimizer": {}}}
    torch.save(
        {"model": weights, "trainer": trainer, "iteration": 559}, tmp_path / "model_final.pth"
    )
    return tmp_path / "model_final.pth"


def test_a_run_of_0_1_predicts_as_it_did(
    run_of_0_1: Path, clean_catalogs: None, caplog: pytest.LogCaptureFixture
) -> None:
    result = load(run_of_0_1, device="cpu")(SAMPLE_IMAGE)
    expected = load(device="cpu")(SAMPLE_IMAGE)
    assert len(result.segments) > 5 and np.array_equal(result.panoptic, expected.panoptic)
    assert not [record for record in caplog.records if "effps_solo 0" in record.getMessage()]


def test_a_config_written_by_hand_has_to_name_the_norm_of_0_1(
    run_of_0_1: Path, clean_catalogs: None
) -> None:
    """Batch norms are the default since; the checkpoint of a group norm has no statistics for them."""
    config = run_of_0_1.with_name("config.yaml")
    config.write_text(config.read_text().replace("NORM: GN", "NORM: BN"))
    with pytest.raises(
        CheckpointError, match=r"nothing for 40 .* with MODEL\.SOLOV2\.NORM GN: set"
    ):
        load(run_of_0_1, device="cpu")


def test_every_value_that_0_1_saved_is_that_of_the_config_now(clean_catalogs: None) -> None:
    """A key that a version renames or removes without a migration is unknown, or its value lost."""
    path = SAVED_BY_0_1
    cfg = yaml.safe_load(read_config(str(path)).dump())
    content = yaml.safe_load(path.read_text())
    migrate(content, str(path))
    assert len(content) > 10 and merged(cfg, content) == cfg


def merged(values: Any, others: Any) -> Any:
    """``values`` with those of ``others`` in their place, section by section."""
    if not isinstance(others, dict):
        return others
    return {**values, **{key: merged(values.get(key), other) for key, other in others.items()}}
