"""What training has to live with: the device, its memory, and the time and memory of a step, measured."""

import multiprocessing
import tempfile
import time
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass
from typing import List

import torch
from detectron2.engine import HookBase

from effps_solo.benchmark.measure import peak_memory
from effps_solo.data.build import build_train_loader
from effps_solo.engine import Trainer
from effps_solo.engine.loop import TrainingLoop
from effps_solo.modeling.precision import Precision
from effps_solo.utils.machine import available_memory, cpu, keep_freed_memory, num_cores

from .config_file import load_text

_NUM_WARMUP, _NUM_STEPS = 2, 5
GIGABYTE = 1e9


@dataclass(frozen=True)
class Machine:
    """Where training will run.

    Attributes:
        device: "cpu" or "cuda".
        name: of the processor or GPU.
        num_cores: that this process may use.
        memory: bytes that training may take; on a GPU of its memory.
        fast_bf16: whether arithmetic in bf16 is faster than in fp32.
    """

    device: str
    name: str
    num_cores: int
    memory: float
    fast_bf16: bool


def this_machine(memory: float = 0.0) -> Machine:
    """The GPU, if torch sees one, else the processor; ``memory`` in bytes limits what is free."""
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        name, fast = torch.cuda.get_device_name(), torch.cuda.is_bf16_supported()
        return Machine("cuda", name, num_cores(), min(free, memory or free), fast)
    processor, free = cpu(), available_memory()
    fast = bool(processor["native_bf16"])
    return Machine("cpu", processor["model"], num_cores(), min(free, memory or free), fast)


@dataclass(frozen=True)
class StepCost:
    """Of a training step: seconds, and the most bytes that the process took."""

    seconds: float
    memory: int


def measure_step(folder: str, config: str) -> StepCost:
    """Train a few steps with ``config``, the text of a config file, in a process of its own.

    Weights are random, which changes neither time nor memory.

    Args:
        folder: from which the config sees its data set.

    Raises:
        UserError: the config or its data cannot be used.
        MemoryError: the process died.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        try:
            return pool.submit(_train_a_little, folder, config).result()
        except BrokenExecutor as error:
            raise MemoryError("a training step needs more memory than there is") from error


class _Clock(HookBase):
    """The seconds of every step."""

    def __init__(self) -> None:
        self.seconds: List[float] = []

    def before_step(self) -> None:
        self._start = time.perf_counter()

    def after_step(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._start)


def _train_a_little(folder: str, config: str) -> StepCost:
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as output:
        cfg = load_text(config, folder, ["OUTPUT_DIR", output, "MODEL.WEIGHTS", ""])
        model = Trainer.build_model(cfg)
        clock = _Clock()
        loop = TrainingLoop(
            model,
            build_train_loader(cfg),
            Trainer.build_optimizer(cfg, model),
            precision=Precision.from_config(cfg),
            num_micro_batches=cfg.SOLVER.ACCUMULATION_STEPS,
        )
        loop.register_hooks([clock])
        model.train()
        loop.train(0, _NUM_WARMUP + _NUM_STEPS)
    seconds = sum(clock.seconds[_NUM_WARMUP:]) / _NUM_STEPS
    return StepCost(seconds, peak_memory(cfg.MODEL.DEVICE))
