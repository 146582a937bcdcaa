"""Configs and checkpoints of others: good ones load, hostile ones are refused before anything runs."""

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, Callable

import pytest
import torch
from detectron2.config import CfgNode, get_cfg

from effps_solo.checkpoint.safe_loading import (
    CheckpointError,
    ConfigError,
    load_config_file,
    merge_overrides,
    safe_load_checkpoint,
)


class Payload:
    """Makes the folder ``marker`` when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.marker,)


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


# Configs


def test_base_chain_merges_in_order(tmp_path: Path, cfg: CfgNode) -> None:
    write(tmp_path / "a.yaml", "SOLVER: {MAX_ITER: 1, BASE_LR: 0.5}\nOUTPUT_DIR: a\n")
    write(tmp_path / "sub/b.yaml", "_BASE_: ../a.yaml\nSOLVER: {MAX_ITER: 2}\n")
    path = write(tmp_path / "c.yaml", "_BASE_: [sub/b.yaml]\nDATASETS: {TRAIN: [x, y]}\n")
    load_config_file(cfg, path)
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR, cfg.OUTPUT_DIR) == (2, 0.5, "a")
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


# Checkpoints


def save_pickle(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def save_zip(content: Any, path: Path) -> None:
    torch.save(content, path)


def save_legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


HOSTILE_WRITERS = [
    pytest.param(save_pickle, "w.pkl", id="pkl"),
    pytest.param(save_pickle, "w.pth", id="pickle named pth"),
    pytest.param(save_zip, "w.pth", id="zip"),
    pytest.param(save_legacy, "w.pt", id="legacy"),
]


@pytest.mark.parametrize("save, name", HOSTILE_WRITERS)
def test_hostile_checkpoint_is_refused(
    tmp_path: Path, marker: Path, save: Callable[[Any, Path], None], name: str
) -> None:
    path = tmp_path / name
    save({"model": {"w": torch.ones(1)}, "x": Payload(marker)}, path)
    with pytest.raises(CheckpointError, match=f"{name}.*refused.*--allow-unsafe"):
        safe_load_checkpoint(str(path))
    assert not marker.exists()


def test_the_payload_works(tmp_path: Path, marker: Path) -> None:
    """The refusals above are about something: the same file does run when it is allowed to."""
    save_zip({"model": Payload(marker)}, tmp_path / "w.pth")
    safe_load_checkpoint(str(tmp_path / "w.pth"), allow_unsafe=True)
    assert marker.exists()


def test_zip_with_a_hand_made_payload_is_refused(tmp_path: Path, marker: Path) -> None:
    """A torch file whose data.pkl was replaced after saving."""
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(1)}, buffer)
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w") as target:
        for item in source.namelist():
            content = source.read(item)
            if item.endswith("data.pkl"):
                content = pickle.dumps(Payload(marker), protocol=2)
            target.writestr(item, content)
    with pytest.raises(CheckpointError, match="w.pth.*refused"):
        safe_load_checkpoint(str(path))
    assert not marker.exists()


def test_whole_model_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(1, 1), tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match="m.pth.*refused"):
        safe_load_checkpoint(str(tmp_path / "m.pth"))


@pytest.mark.parametrize("name", ["w.pkl", "w.pth"])
def test_allow_unsafe_loads_a_benign_pickle(tmp_path: Path, name: str) -> None:
    (
        save_pickle({"model": {"w": 3}}, tmp_path / name)
        if name == "w.pkl"
        else save_zip({"model": {"w": 3}, "path": Path("x")}, tmp_path / name)
    )
    assert safe_load_checkpoint(str(tmp_path / name), allow_unsafe=True)["model"] == {"w": 3}


def test_good_checkpoints_load(tmp_path: Path) -> None:
    content = {
        "model": {"w": torch.arange(3.0)},
        "iteration": 5,
        "trainer": {"lr": [0.1, (1, None)]},
    }
    save_zip(content, tmp_path / "a.pth")
    save_legacy(content, tmp_path / "b.pth")
    for name in ("a.pth", "b.pth"):
        loaded = safe_load_checkpoint(str(tmp_path / name))
        assert torch.equal(loaded["model"]["w"], content["model"]["w"])
        assert loaded["iteration"] == 5 and loaded["trainer"] == content["trainer"]


def test_safetensors(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file({"w": torch.arange(3.0)}, tmp_path / "w.safetensors")
    loaded = safe_load_checkpoint(str(tmp_path / "w.safetensors"))
    assert list(loaded) == ["w"] and torch.equal(loaded["w"], torch.arange(3.0))
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="cut.safetensors' is damaged"):
        safe_load_checkpoint(str(tmp_path / "cut.safetensors"))


@pytest.mark.parametrize("save", [save_zip, save_legacy])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_truncated_checkpoint(
    tmp_path: Path, save: Callable[[Any, Path], None], keep: float
) -> None:
    path = tmp_path / "cut.pth"
    save({"model": {"w": torch.zeros(1000)}}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(CheckpointError, match="cut.pth' is truncated, damaged or no checkpoint"):
        safe_load_checkpoint(str(path))


def test_missing_folder_text_and_bare_tensor(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="none.pth' does not exist"):
        safe_load_checkpoint(str(tmp_path / "none.pth"))
    with pytest.raises(CheckpointError, match="not a file"):
        safe_load_checkpoint(str(tmp_path))
    (tmp_path / "text.pth").write_text("version https://git-lfs\noid sha256:1\n")
    with pytest.raises(CheckpointError, match="text.pth' is truncated, damaged or no checkpoint"):
        safe_load_checkpoint(str(tmp_path / "text.pth"))
    torch.save(torch.ones(2), tmp_path / "t.pth")
    with pytest.raises(CheckpointError, match="t.pth' holds a Tensor"):
        safe_load_checkpoint(str(tmp_path / "t.pth"))
