"""What a task makes of its process."""

from pathlib import Path
from typing import List

import pytest
import torch

from effps_solo.benchmark import torch_backends
from effps_solo.benchmark.worker import Task


@pytest.mark.parametrize("device, kept", [("cpu", [True]), ("cuda", [])])
def test_a_process_that_measures_a_cpu_keeps_freed_memory(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch, device: str, kept: List[bool]
) -> None:
    calls: List[bool] = []
    monkeypatch.setattr(torch_backends, "keep_freed_memory", lambda: calls.append(True))
    words = ("MODEL.DEVICE", device)
    task = Task("torch", str(tiny_config), words, False, torch.get_num_threads(), (), (64, 96))
    assert torch_backends.open_config(task).MODEL.DEVICE == device and calls == kept
