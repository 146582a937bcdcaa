"""The command ``plan``, from a description to a training."""

from pathlib import Path
from typing import List

import pytest

from effps_solo.__main__ import main
from effps_solo.config import load_config

pytestmark = pytest.mark.usefixtures("fresh_loggers")


@pytest.fixture
def description(tiny_set: Path) -> Path:
    path = tiny_set / "tiny.yaml"
    path.write_text("name: tiny\n")
    return path


def words(description: Path, output: Path, *more: str) -> List[str]:
    options = ["--description", str(description), "--output", str(output), "--workers", "1"]
    return ["plan", *options, *more]


def test_a_plan_that_trains(description: Path, capsys: pytest.CaptureFixture) -> None:
    config = description.parent / "sub" / "config.yaml"
    assert main(words(description, config, "--minutes", "0.1")) == 0
    output = capsys.readouterr().out
    assert "A perfect network of this config reaches PQ" in output and "train it:" in output
    assert "first look" not in output
    assert [path.name for path in config.parent.iterdir()] == ["config.yaml"]
    cfg = load_config(str(config))
    assert cfg.DATASETS.TRAIN == ("tiny_train",) and cfg.DATASETS.TEST == ("tiny_val",)
    assert cfg.INPUT.CROP_SIZE == (64, 96) and cfg.SOLVER.MAX_ITER >= 50
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 4 and cfg.MODEL.INSTANCE_HEAD.NUM_CLASSES == 2


def test_the_data_of_another_config(
    tiny_config: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (99.5, 0.0, 0.0))
    monkeypatch.setattr("effps_solo.cli.plan.FEW_PASSES", 10**6)
    config = tiny_config.parent / "planned.yaml"
    data = ["--config-file", str(tiny_config), "--output", str(config), "--workers", "1"]
    assert main(["plan", *data, "--no-bound", "--minutes", "0.1"]) == 0
    printed = capsys.readouterr()
    assert "perfect network" not in printed.out and "busy (load 99.5)" in printed.err
    assert " passes over 2 images" in printed.out and "first look" in printed.out
    cfg = load_config(str(config))
    assert cfg.DATASETS == load_config(str(tiny_config)).DATASETS
    assert cfg.OUTPUT_DIR == f"{tiny_config.parent}/output_planned"


def test_what_it_refuses(description: Path, capsys: pytest.CaptureFixture) -> None:
    output = description.parent / "config.yaml"
    output.write_text("mine")
    assert main(words(description, output)) == 2
    assert "exists already; name something new, or add --overwrite" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert main(words(description.parent / "missing.yaml", output, "--overwrite")) == 2
    assert "missing.yaml" in capsys.readouterr().err and output.read_text() == "mine"
