"""OUTPUT_DIR is taken by one run at a time, and what an earlier one left is not lost by accident."""

import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterator

import pytest

from effps_solo.engine.output_folder import LOCK_NAME, OutputFolderError, claim_output_folder
from effps_solo.utils.errors import ConfigError, UserError

OF_A_RUN = ("last_checkpoint", "model_0000003.pth", "model_best.pth", "metrics.json",
            "events.out.tfevents.1.host.2.0")  # fmt: skip
OTHERS = ("notes.txt", "config.yaml", "log.txt", "inference/set/results.json")
HOLD = """
import sys
from effps_solo.engine.output_folder import claim_output_folder
claim_output_folder(sys.argv[1])
print("taken", flush=True)
sys.stdin.read()
"""


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def content(folder: Path) -> Dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_a_new_folder_and_one_of_an_evaluation_are_taken(tmp_path: Path) -> None:
    claim_output_folder(str(tmp_path / "new" / "folder"))
    write(tmp_path, *OTHERS, OF_A_RUN[-1])
    (tmp_path / "metrics.json").touch()  # of one that failed before its first line
    claim_output_folder(str(tmp_path))
    claim_output_folder(str(tmp_path))  # by one process as often as it likes


@pytest.mark.parametrize("name", OF_A_RUN[:-1])
def test_a_used_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, OF_A_RUN[-1], *OTHERS)
    before = content(tmp_path)
    with pytest.raises(
        OutputFolderError, match=f"{tmp_path}' holds a training already \\({name}\\)"
    ):
        claim_output_folder(str(tmp_path))
    assert content(tmp_path) == before  # not even a lock
    claim_output_folder(str(tmp_path), resume=True)
    claim_output_folder(str(tmp_path), evaluate=True)
    assert content(tmp_path).keys() - {LOCK_NAME} == before.keys()
    claim_output_folder(str(tmp_path), overwrite=True)
    assert content(tmp_path).keys() - {LOCK_NAME} == set(OTHERS)


def test_a_finished_training_says_where_its_model_is(tmp_path: Path) -> None:
    write(tmp_path, "model_final.pth")
    with pytest.raises(OutputFolderError, match=f"finished, its model is in {tmp_path}/model"):
        claim_output_folder(str(tmp_path))


def test_what_contradicts_itself(tmp_path: Path) -> None:
    write(tmp_path, *OF_A_RUN)
    with pytest.raises(ConfigError, match="give one of them"):
        claim_output_folder(str(tmp_path), resume=True, overwrite=True)
    weights = str(tmp_path / "model_best.pth")
    with pytest.raises(ConfigError, match="where --overwrite would remove it"):
        claim_output_folder(str(tmp_path), overwrite=True, weights=weights)
    assert content(tmp_path).keys() == set(OF_A_RUN)


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_no_folder_to_write_to(tmp_path: Path, name: str) -> None:
    write(tmp_path, "file")
    with pytest.raises(
        UserError, match=r"OUTPUT_DIR .* is not a folder to write to \(.+\); name another"
    ):
        claim_output_folder(str(tmp_path / name))


@pytest.fixture
def other(tmp_path: Path, project_root: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process, which has taken ``tmp_path``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=project_root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout and process.stdout.readline() == "taken\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_two_runs_at_once(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    """Whatever the second wants; a killed one holds nothing any more."""
    write(tmp_path, *OF_A_RUN)
    for how in ({}, {"resume": True}, {"overwrite": True}, {"evaluate": True}):
        with pytest.raises(OutputFolderError, match=f"is in use by process {other.pid} on"):
            claim_output_folder(str(tmp_path), **how)
    assert content(tmp_path).keys() - {LOCK_NAME} == set(OF_A_RUN)
    other.kill()
    other.wait()
    claim_output_folder(str(tmp_path), resume=True)
