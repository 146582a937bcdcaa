"""From where paths in configs are seen."""

import os
from pathlib import Path
from typing import Any

import pytest

from effps_solo.config import read_config
from effps_solo.config.paths import is_saved, make_absolute


def absolute(content: Any) -> Any:
    make_absolute(content, "/here")
    return content


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("output/a", "/here/output/a"),
        ("../a", "/a"),
        ("/there", "/there"),
        ("", ""),
        ("imagenet://tf_efficientnet_lite0", "imagenet://tf_efficientnet_lite0"),
        (7, 7),
    ],
)
def test_one_path(value: Any, expected: Any) -> None:
    assert absolute({"OUTPUT_DIR": value}) == {"OUTPUT_DIR": expected}
    assert absolute({"MODEL": {"WEIGHTS": value}}) == {"MODEL": {"WEIGHTS": expected}}


def test_variables_are_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERE", "/there")
    monkeypatch.setenv("BELOW", "below")
    content = absolute({"DATASETS": {"PANOPTIC": {"ROOT": "$THERE/x"}}})
    assert content == {"DATASETS": {"PANOPTIC": {"ROOT": "$THERE/x"}}}
    assert absolute({"OUTPUT_DIR": "$BELOW/x"}) == {"OUTPUT_DIR": "/here/below/x"}


@pytest.mark.parametrize("value", [["a.yaml", "/b.yaml"], "('a.yaml', '/b.yaml')"])
def test_several_paths(value: Any) -> None:
    content = absolute({"DATASETS": {"DESCRIPTIONS": value, "TRAIN": ["a"]}})
    assert content["DATASETS"] == {"DESCRIPTIONS": ["/here/a.yaml", "/b.yaml"], "TRAIN": ["a"]}


def test_nothing_and_nonsense() -> None:
    assert absolute({}) == {} and absolute({"MODEL": 3}) == {"MODEL": 3}


def test_each_file_of_a_chain_sees_from_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "base.yaml").write_text(
        "OUTPUT_DIR: output/a\nMODEL: {WEIGHTS: w.pth}\nDATASETS: {DESCRIPTIONS: [my_set.yaml]}\n"
    )
    (tmp_path / "mine").mkdir()
    path = tmp_path / "mine" / "config.yaml"
    path.write_text("_BASE_: ../base/base.yaml\nOUTPUT_DIR: output/b\n")
    monkeypatch.chdir(tmp_path)
    for file in (str(path), "mine/config.yaml"):
        cfg = read_config(file)
        assert cfg.OUTPUT_DIR == str(tmp_path / "mine" / "output" / "b")
        assert cfg.MODEL.WEIGHTS == str(tmp_path / "base" / "w.pth")
        assert cfg.DATASETS.DESCRIPTIONS == (str(tmp_path / "base" / "my_set.yaml"),)
    words = ["OUTPUT_DIR", "here", "DATASETS.DESCRIPTIONS", "('mine.yaml',)"]
    cfg = read_config(str(path), words)
    assert cfg.OUTPUT_DIR == "here"
    assert cfg.DATASETS.DESCRIPTIONS == (str(tmp_path / "mine.yaml"),)


def test_saved_configs_keep_theirs(tmp_path: Path) -> None:
    cfg = read_config("", ["OUTPUT_DIR", "output/a"])
    saved = tmp_path / "config.yaml"
    saved.write_text(cfg.dump())
    assert read_config(str(saved)).OUTPUT_DIR == "output/a"
    assert is_saved({"GLOBAL": {}}) and not is_saved({"OUTPUT_DIR": os.sep})
