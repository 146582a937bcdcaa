"""What a training dies of, in words."""

import errno
import os
import signal
from pathlib import Path
from typing import Any, Dict

import pytest
import torch
from detectron2.engine.hooks import EvalHook

from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.engine.failures import DiskFullError, WorkerDiedError, explained


def test_a_dead_worker_is_reported(tiny_config: Path) -> None:
    words = ["DATALOADER.NUM_WORKERS", "1", "SOLVER.MAX_ITER", "50"]
    trainer = Trainer(load_config(str(tiny_config), words))
    trainer._hooks.clear()
    mapper, main = trainer.data_loader.dataset.mapper, os.getpid()
    loaded = torch.zeros(1).share_memory_()

    def dying(record: Dict[str, Any]) -> Dict[str, Any]:
        loaded.add_(1)
        if loaded > 5 and os.getpid() != main:
            os.kill(os.getpid(), signal.SIGKILL)
        mapped: Dict[str, Any] = mapper(record)
        return mapped

    trainer.data_loader.dataset.mapper = dying
    with pytest.raises(WorkerDiedError, match="loads data died.*NUM_WORKERS.*--resume"):
        trainer.train()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(number: int) -> None:
    with pytest.raises(DiskFullError, match="no space is left to write into out .*--resume"):
        with explained("out"):
            raise OSError(number, "No space left on device", "metrics.json")


@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, "denied"), RuntimeError("shapes"), KeyError(1)]
)
def test_other_errors_stay_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as info, explained("out"):
        raise error
    assert info.value is error


def test_a_failure_in_the_last_iteration_is_not_evaluated_first(tiny_config: Path) -> None:
    words = ["SOLVER.MAX_ITER", "1", "TEST.EVAL_PERIOD", "5", "SOLVER.CHECKPOINT_PERIOD", "5"]
    trainer = Trainer(load_config(str(tiny_config), words))
    evaluations = []
    for hook in trainer._hooks:
        if isinstance(hook, EvalHook):
            hook._func = lambda: evaluations.append(None)

    def fail(*_: Any) -> None:
        raise KeyError("in the last iteration")

    trainer._trainer._forward = fail
    with pytest.raises(KeyError):
        trainer.train()
    assert not evaluations


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_disk_that_fills_up_under_the_metrics(tiny_config: Path, tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "metrics.json").symlink_to("/dev/full")
    words = ["SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()"]
    with pytest.raises(DiskFullError, match=str(tmp_path / "output")):
        Trainer(load_config(str(tiny_config), words)).train()
