"""Checkpoints of others: good ones load, hostile ones are refused before anything runs."""

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, Callable

import pytest
import torch

from effps_solo.checkpoint.safe_loading import safe_load_checkpoint
from effps_solo.utils.errors import CheckpointError


class Payload:
    """Makes the folder ``marker`` when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.marker,)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """Does not exist unless a payload ran."""
    return tmp_path / "payload_ran"


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
