"""Config files of others: good ones load, hostile ones are refused before anything runs."""

from pathlib import Path

import pytest
from detectron2.config import CfgNode, get_cfg

from effps_solo.config.files import load_config_file, merge_overrides
from effps_solo.utils.errors import ConfigError


@pytest.fixture
def cfg() -> CfgNode:
    return get_cfg()


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """Does not exist unless a payload ran."""
    return tmp_path / "payload_ran"


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def hostile_yaml(marker: Path) -> str:
    return f"OUTPUT_DIR: !!python/object/apply:os.mkdir ['{marker}']\n"


def test_base_chain_merges_in_order(tmp_path: Path, cfg: CfgNode) -> None:
    write(tmp_path / "a.yaml", "SOLVER: {MAX_ITER: 1, BASE_LR: 0.5}\nOUTPUT_DIR: a\n")
    write(tmp_path / "sub/b.yaml", "_BASE_: ../a.yaml\nSOLVER: {MAX_ITER: 2}\n")
    path = write(tmp_path / "c.yaml", "_BASE_: [sub/b.yaml]\nDATASETS: {TRAIN: [x, y]}\n")
    load_config_file(cfg, path)
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR, cfg.OUTPUT_DIR) == (
        2,
        0.5,
        str(tmp_path / "a"),
    )
    assert cfg.SOLVER.GAMMA == get_cfg().SOLVER.GAMMA


def test_same_result_as_detectron2(tmp_path: Path, cfg: CfgNode) -> None:
    write(tmp_path / "a.yaml", "SOLVER: {STEPS: [10, 20]}\nINPUT: {FORMAT: RGB}\n")
    path = write(tmp_path / "b.yaml", '_BASE_: "a.yaml"\nDATASETS:\n  TRAIN: ("x", "y")\n')
    load_config_file(cfg, path)
    expected = get_cfg()
    expected.merge_from_file(path)
    assert cfg == expected and cfg.DATASETS.TRAIN == ("x", "y")


def test_empty_file_changes_nothing(tmp_path: Path, cfg: CfgNode) -> None:
    load_config_file(cfg, write(tmp_path / "empty.yaml", "# nothing\n"))
    assert cfg == get_cfg()


def test_hostile_yaml_is_refused(tmp_path: Path, cfg: CfgNode, marker: Path) -> None:
    path = write(tmp_path / "bad.yaml", hostile_yaml(marker))
    with pytest.raises(ConfigError, match="bad.yaml.*run code.*--allow-unsafe"):
        load_config_file(cfg, path)
    assert not marker.exists() and cfg == get_cfg()
    with pytest.raises(ConfigError, match="bad.yaml"):  # mkdir's None is no OUTPUT_DIR...
        load_config_file(
            cfg, write(tmp_path / "bad.yaml", f"NO_KEY: 1\n{hostile_yaml(marker)}"), True
        )
    assert marker.exists()  # ...but the payload works, so that its absence above means something


def test_hostile_base_is_refused(tmp_path: Path, cfg: CfgNode, marker: Path) -> None:
    write(tmp_path / "base/bad.yaml", hostile_yaml(marker))
    write(tmp_path / "mid.yaml", "_BASE_: [base/bad.yaml]\n")
    path = write(tmp_path / "top.yaml", "_BASE_: mid.yaml\nOUTPUT_DIR: x\n")
    with pytest.raises(ConfigError, match="bad.yaml.*run code"):
        load_config_file(cfg, path)
    assert not marker.exists() and cfg == get_cfg()


def test_hostile_tag_on_the_base_key_is_refused(tmp_path: Path, cfg: CfgNode, marker: Path) -> None:
    path = write(tmp_path / "t.yaml", f"_BASE_: !!python/object/apply:os.mkdir ['{marker}']\n")
    with pytest.raises(ConfigError, match="t.yaml.*run code"):
        load_config_file(cfg, path)
    assert not marker.exists()


@pytest.mark.parametrize("as_base", [False, True])
def test_python_config_is_refused(
    tmp_path: Path, cfg: CfgNode, marker: Path, as_base: bool
) -> None:
    path = write(tmp_path / "config.py", f"import os\nos.mkdir({str(marker)!r})\n")
    if as_base:
        path = write(tmp_path / "top.yaml", "_BASE_: config.py\n")
    for allow_unsafe in (False, True):
        with pytest.raises(ConfigError, match="config.py.*Python program"):
            load_config_file(cfg, path, allow_unsafe)
    assert not marker.exists()


def test_proposals_are_refused(tmp_path: Path, cfg: CfgNode) -> None:
    path = write(tmp_path / "p.yaml", "MODEL: {LOAD_PROPOSALS: true}\n")
    with pytest.raises(ConfigError, match="p.yaml.*LOAD_PROPOSALS"):
        load_config_file(cfg, path)
    load_config_file(cfg, path, allow_unsafe=True)
    assert cfg.MODEL.LOAD_PROPOSALS


def test_allow_unsafe_loads_a_benign_tag(tmp_path: Path, cfg: CfgNode) -> None:
    text = "INPUT: {MIN_SIZE_TRAIN: !!python/object/apply:eval ['[100 * i for i in (1, 2)]']}\n"
    write(tmp_path / "eval.yaml", text)
    path = write(tmp_path / "top.yaml", "_BASE_: eval.yaml\n")
    with pytest.raises(ConfigError, match="eval.yaml"):
        load_config_file(cfg, path)
    load_config_file(cfg, path, allow_unsafe=True)
    assert cfg.INPUT.MIN_SIZE_TRAIN == (100, 200)


@pytest.mark.parametrize(
    "text, message",
    [
        ("SOLVER: {MAX_ITERS: 5}", "unknown key 'SOLVER.MAX_ITERS'.*'SOLVER.MAX_ITER'"),
        ("MAX_ITER: 5", "unknown key 'MAX_ITER'.*'SOLVER.MAX_ITER'"),
        ("ZZZQQQ: {A: 5}", "unknown key 'ZZZQQQ'$"),
        (
            "SOLVER: {MAX_ITER: many}",
            "key 'SOLVER.MAX_ITER' must be a int like 40000, got the str many",
        ),
        (
            "DATASETS:\n  TRAIN: (x,)",
            r"'DATASETS.TRAIN' must be a tuple like \(\), got the str \(x,\)",
        ),
        ("SOLVER: 5", "'SOLVER' must be a section"),
        ("OUTPUT_DIR: {A: 1}", "'OUTPUT_DIR' must be a value"),
        ("OUTPUT_DIR: 2026-11-22", "OUTPUT_DIR"),
        ("OUTPUT_DIR: [", "not valid YAML"),
        ("- 1\n- 2", "KEY: VALUE pairs, found a list"),
        ("VERSION: 1", "VERSION 1"),
        ("_BASE_: 5", "_BASE_ must be a file name"),
        ("_BASE_: none.yaml", "none.yaml': does not exist"),
        ("_BASE_: c.yaml", "c.yaml': its _BASE_ chain leads back"),
    ],
)
def test_wrong_config_names_file_and_key(
    tmp_path: Path, cfg: CfgNode, text: str, message: str
) -> None:
    path = write(tmp_path / "c.yaml", text)
    with pytest.raises(ConfigError, match=message) as info:
        load_config_file(cfg, path)
    assert str(tmp_path) in str(info.value) and cfg == get_cfg()


def test_missing_and_binary_config(tmp_path: Path, cfg: CfgNode) -> None:
    with pytest.raises(ConfigError, match="no.yaml': does not exist"):
        load_config_file(cfg, str(tmp_path / "no.yaml"))
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="b.yaml' is not a text file"):
        load_config_file(cfg, str(tmp_path / "b.yaml"))


def test_overrides(cfg: CfgNode) -> None:
    merge_overrides(cfg, [])
    merge_overrides(cfg, ["SOLVER.MAX_ITER", "7", "MODEL.WEIGHTS", "", "DATASETS.TEST", "('a',)"])
    assert (cfg.SOLVER.MAX_ITER, cfg.MODEL.WEIGHTS, cfg.DATASETS.TEST) == (7, "", ("a",))


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["SOLVER.MAX_ITER"], "pairs KEY VALUE"),
        (["SOLVER.MAXITER", "1"], "'SOLVER.MAXITER'.*'SOLVER.MAX_ITER'"),
        (["SOLVER.MAX_ITER", "x"], "SOLVER.MAX_ITER x"),
        (["_BASE_", "x.yaml"], "_BASE_"),
        (["SOLVER", "1"], "SOLVER 1"),
    ],
)
def test_wrong_overrides(cfg: CfgNode, overrides: "list[str]", message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        merge_overrides(cfg, overrides)


def test_overrides_evaluate_nothing(cfg: CfgNode, marker: Path) -> None:
    merge_overrides(cfg, ["OUTPUT_DIR", f"__import__('os').mkdir({str(marker)!r})"])
    assert not marker.exists() and cfg.OUTPUT_DIR.startswith("__import__")
