"""When checkpoints are written, which stay, and what becomes of a full disk."""

import logging
from pathlib import Path
from typing import Dict, List

import pytest
import torch
from detectron2.engine import TrainerBase
from torch import nn

from effps_solo.checkpoint.checkpointer import CheckpointWriteError, EffPSCheckpointer
from effps_solo.engine.checkpointing import PeriodicCheckpointer

FULL = Path("/dev/full")  # the kernel's disk without space
needs_full = pytest.mark.skipif(not FULL.exists(), reason="the system has no /dev/full")


class IdleTrainer(TrainerBase):
    """Steps do nothing; checkpoints are written by the hook."""

    def __init__(self, folder: Path, period: int, max_to_keep: int) -> None:
        super().__init__()
        self.checkpointer = EffPSCheckpointer(nn.Linear(2, 2), str(folder), trainer=self)
        self.register_hooks([PeriodicCheckpointer(self.checkpointer, period, max_to_keep)])

    def run_step(self) -> None:
        pass


def files(folder: Path) -> List[str]:
    return sorted(path.name for path in folder.iterdir())


def numbered(*iterations: int) -> List[str]:
    return [f"model_{i:07d}.pth" for i in iterations]


def last(folder: Path) -> Dict[str, int]:
    name = (folder / "last_checkpoint").read_text()
    loaded: Dict[str, int] = torch.load(folder / name, weights_only=True)
    return loaded


@pytest.mark.parametrize(
    "keep, kept", [(0, (1, 3, 5, 7, 9)), (1, (9,)), (3, (5, 7, 9)), (99, (1, 3, 5, 7, 9))]
)
def test_the_last_ones_stay(tmp_path: Path, keep: int, kept: List[int]) -> None:
    IdleTrainer(tmp_path, 2, keep).train(0, 11)
    assert files(tmp_path) == ["last_checkpoint", *numbered(*kept), "model_final.pth"]
    assert last(tmp_path)["iteration"] == 10


def test_a_resumed_run_removes_what_the_run_before_it_wrote(tmp_path: Path) -> None:
    IdleTrainer(tmp_path, 2, 2).train(0, 5)
    (tmp_path / "model_final.pth").unlink()
    for name in numbered(0, 2):  # of somebody else
        (tmp_path / name).write_bytes(b"")
    trainer = IdleTrainer(tmp_path, 2, 2)
    trainer.checkpointer.load(str(tmp_path / numbered(3)[0]))
    assert trainer.iter == 3
    trainer.train(4, 9)
    assert files(tmp_path) == ["last_checkpoint", *numbered(0, 2, 5, 7), "model_final.pth"]


def test_a_run_that_starts_anew_removes_nothing_of_others(tmp_path: Path) -> None:
    for name in numbered(0, 100):
        (tmp_path / name).write_bytes(b"")
    IdleTrainer(tmp_path, 1, 1).train(10, 12)
    assert files(tmp_path) == ["last_checkpoint", *numbered(0, 11, 100), "model_final.pth"]


@needs_full
def test_a_full_disk_costs_one_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = IdleTrainer(tmp_path, 2, 2)
    (tmp_path / f"{numbered(3)[0]}.part").symlink_to(FULL)
    with caplog.at_level(logging.ERROR):
        trainer.train(0, 4 + 1)
    assert files(tmp_path) == ["last_checkpoint", *numbered(1), "model_final.pth"]
    (text,) = [record.getMessage() for record in caplog.records]
    assert str(tmp_path / numbered(3)[0]) in text and "No space left on device" in text
    assert "Training goes on" in text and "OUTPUT_DIR" in text
    loaded = torch.load(tmp_path / numbered(1)[0], weights_only=True)
    assert loaded["iteration"] == 1
    trainer.train(5, 9)
    assert files(tmp_path) == ["last_checkpoint", *numbered(5, 7), "model_final.pth"]


@needs_full
def test_a_full_disk_amid_a_large_tensor(tmp_path: Path) -> None:
    checkpointer = EffPSCheckpointer(nn.Linear(1000, 300), str(tmp_path))
    (tmp_path / "model.pth.part").symlink_to(FULL)
    with pytest.raises(CheckpointWriteError, match="model.pth' cannot be written .*No space left"):
        checkpointer.save("model")
    assert files(tmp_path) == []


@needs_full
def test_a_full_disk_at_the_end_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "model_final.pth.part").symlink_to(FULL)
    with pytest.raises(CheckpointWriteError, match="model_final.pth' cannot be written .*No space"):
        IdleTrainer(tmp_path, 2, 2).train(0, 5)
    assert files(tmp_path) == ["last_checkpoint", *numbered(1, 3)]
    assert last(tmp_path)["iteration"] == 3


@needs_full
def test_a_full_disk_before_the_name_of_the_last_one_is_noted(tmp_path: Path) -> None:
    """The new file is there, but the old one stays the last, and nothing is removed."""
    IdleTrainer(tmp_path, 2, 1).train(0, 3)
    (tmp_path / "model_final.pth").unlink()
    (tmp_path / "last_checkpoint").write_text(numbered(1)[0])
    (tmp_path / "last_checkpoint.part").symlink_to(FULL)
    trainer = IdleTrainer(tmp_path, 2, 1)
    trainer.checkpointer.load(str(tmp_path / numbered(1)[0]))
    trainer.max_iter, trainer.iter = 99, 3
    trainer._hooks[0].after_step()
    assert last(tmp_path)["iteration"] == 1
    assert files(tmp_path) == ["last_checkpoint", *numbered(1, 3)]


def test_no_period(tmp_path: Path) -> None:
    IdleTrainer(tmp_path, 0, 2).train(0, 3)
    assert files(tmp_path) == ["last_checkpoint", "model_final.pth"]
