"""A model as one folder: what is in it, and what is never lost by writing it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from effps_solo.checkpoint.model_folder import (
    is_model_folder,
    read_classes,
    weights_in_16_bits,
    write_model_folder,
)
from effps_solo.structures.classes import PanopticClass
from effps_solo.utils.errors import CheckpointError, UserError

CLASSES = (
    PanopticClass("Straße", False, 7, (9, 0, 0)),
    PanopticClass("car", True, 26, (0, 0, 9)),
)
# One of them not in the order of its axes, two of them one.
KERNEL = torch.arange(24.0).view(1, 2, 3, 4).permute(0, 3, 1, 2)
WEIGHTS = {"kernel": KERNEL, "same": KERNEL, "count": torch.tensor(3)}


def write(folder: Path, **changes: Any) -> Any:
    content: Any = {"weights": WEIGHTS, "config": "SEED: 1\n", "classes": CLASSES, "card": "# M\n"}
    return write_model_folder(folder, **{**content, **changes})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "model"
    assert write(folder) == []
    names = {"model.safetensors", "config.yaml", "classes.json", "README.md"}
    assert set(os.listdir(folder)) == names and os.listdir(folder.parent) == ["model"]
    assert is_model_folder(folder) and not is_model_folder(tmp_path)
    assert read_classes(folder) == CLASSES
    weights = load_file(folder / "model.safetensors")
    assert weights.keys() == WEIGHTS.keys()
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in weights)
    assert (folder / "config.yaml").read_text() == "SEED: 1\n"
    others = (folder / "config.yaml").stat().st_mode
    assert (folder / "model.safetensors").stat().st_mode == others


def test_a_folder_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()  # empty
    write(folder)
    (folder / "model.onnx").write_text("of other weights")
    assert write(folder, card="# New\n") == ["model.onnx"]
    assert (folder / "README.md").read_text() == "# New\n" and len(os.listdir(folder)) == 4


def test_files_of_others_are_never_removed(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds thesis.tex and is no model folder; name another"):
        write(tmp_path)
    folder = tmp_path / "model"
    write(folder)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds other files, too \(notes.txt\)"):
        write(folder)
    assert (folder / "notes.txt").exists() and (tmp_path / "thesis.tex").exists()


def test_a_failure_leaves_the_old_folder(tmp_path: Path) -> None:
    write(tmp_path / "model")
    with pytest.raises(AttributeError):
        write(tmp_path / "model", weights={"kernel": "no tensor"})
    assert os.listdir(tmp_path) == ["model"] and read_classes(tmp_path / "model") == CLASSES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "classes.json cannot be read .*No such file"),
        ("{", "classes.json cannot be read"),
        ("[]", "classes.json cannot be read"),
        (json.dumps({"format": 2, "classes": []}), "has format 2, this program knows 1; update"),
        (
            json.dumps({"format": 1, "classes": []}),
            "class list of .*classes.json is damaged: no class",
        ),
        (json.dumps({"format": 1, "classes": [{"name": "a"}]}), "class list of .* is damaged"),
        (json.dumps({"format": 1, "classes": [3]}), "class list of .* is damaged"),
    ],
)
def test_damaged_class_lists(tmp_path: Path, text: Any, message: str) -> None:
    if text is not None:
        (tmp_path / "classes.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_classes(tmp_path)


def test_kernels_in_16_bits() -> None:
    state = {"k": torch.full((2, 2), 1.5), "variance": torch.tensor([1e-9]), "n": torch.tensor(7)}
    small = weights_in_16_bits(state)
    assert small["k"].dtype == torch.float16 and small["k"].tolist() == state["k"].tolist()
    assert small["variance"] is state["variance"] and small["n"] is state["n"]
    assert weights_in_16_bits({}) == {}
