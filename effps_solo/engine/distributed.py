"""Several processes: starting them, wrapping the model, keeping its buffers equal."""

import argparse
import contextlib
import os
from typing import Any, Callable, Optional, Sequence

import torch
from detectron2 import engine
from detectron2.engine import HookBase
from detectron2.engine.defaults import create_ddp_model
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.utils import comm
from fvcore.nn.precise_bn import get_bn_modules
from torch import distributed, nn

from effps_solo.utils.errors import ConfigError
from effps_solo.utils.machine import num_cores

from .signals import forwarded_signals

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def launch(main: Callable[[argparse.Namespace], Any], args: argparse.Namespace) -> None:
    """Call ``main(args)`` in every process of the job.

    Under torchrun this is one of them. Otherwise Detectron2's ``launch`` starts those that ``args``
    asks for. The backend is NCCL where torch sees a GPU, else gloo.

    Args:
        main: can be pickled.
        args: of Detectron2's parser: num_gpus (processes a machine), num_machines, machine_rank,
            dist_url.

    Raises:
        ConfigError: torchrun and ``args`` both ask for several processes, or there are more of them
            than GPUs on a machine that has some.
    """
    if not all(name in os.environ for name in _TORCHRUN):
        _check_gpus(args.num_gpus)
        if args.num_gpus > 1 and not torch.cuda.is_available():
            # Otherwise each process starts one thread a core.
            os.environ.setdefault("OMP_NUM_THREADS", str(max(1, num_cores() // args.num_gpus)))
        if args.num_machines > 1 and args.dist_url == "auto":
            raise ConfigError(
                f"--num-machines is {args.num_machines}; give all of them the address of the first one: "
                "--dist-url tcp://HOST:PORT"
            )
        machines = (args.num_machines, args.machine_rank, args.dist_url)
        with forwarded_signals() if args.num_gpus > 1 else contextlib.nullcontext():
            engine.launch(main, args.num_gpus, *machines, args=(args,))
        return
    if args.num_gpus > 1 or args.num_machines > 1:
        raise ConfigError(
            f"torchrun started this process, and --num-gpus is {args.num_gpus}, --num-machines "
            f"{args.num_machines}; tell torchrun alone how many processes there are"
        )
    num_processes, has_gpu = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.is_available()
    _check_gpus(num_processes)
    if has_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if has_gpu else "gloo", timeout=DEFAULT_TIMEOUT)
    comm.create_local_process_group(num_processes)
    comm.synchronize()
    main(args)
    distributed.destroy_process_group()


def on_main_process(check: Callable[[], None]) -> None:
    """Call ``check`` on the main process while the others wait; all have to call it.

    Raises what ``check`` raises, on the main process; the others end without a word.
    """
    error: Optional[Exception] = None
    if comm.is_main_process():
        try:
            check()
        except Exception as raised:
            error = raised
    failed = any(comm.all_gather(error is not None))
    if error is not None:
        raise error
    if failed:
        raise SystemExit(1)


def _check_gpus(num_processes: int) -> None:
    num_gpus = torch.cuda.device_count()
    if num_processes > max(num_gpus, 1) and torch.cuda.is_available():
        raise ConfigError(
            f"{num_processes} processes were asked for, and torch sees {num_gpus} GPUs; to train on CPUs "
            "hide them: CUDA_VISIBLE_DEVICES=''"
        )


def distribute(model: nn.Module) -> nn.Module:
    """``model`` in DistributedDataParallel where there are several processes, on a CPU too.

    Raises ConfigError for a model on the CPU and processes with the backend NCCL.
    """
    if comm.get_world_size() == 1:
        return model
    device = next(model.parameters()).device
    if device.type == "cpu" and distributed.get_backend() == "nccl":
        raise ConfigError(
            "MODEL.DEVICE is 'cpu', but the processes talk over GPUs; add MODEL.DEVICE cuda, or hide "
            "the GPUs with CUDA_VISIBLE_DEVICES=''"
        )
    device_ids = None if device.type == "cpu" else [comm.get_local_rank()]
    return create_ddp_model(model, broadcast_buffers=False, device_ids=device_ids)


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside DistributedDataParallel, or ``model`` itself."""
    wrapped = isinstance(model, nn.parallel.DistributedDataParallel)
    return model.module if wrapped else model


def average_running_statistics(model: nn.Module) -> None:
    """Give all processes the mean of their batch norms' running statistics; all have to call it.

    With plain BN each process only sees its own images. ``model`` is in training mode.
    """
    statistics = [x for m in get_bn_modules(model) for x in (m.running_mean, m.running_var)]
    if comm.get_world_size() == 1 or not statistics:
        return
    means = torch.cat([buffer.flatten() for buffer in statistics])
    distributed.all_reduce(means)
    means = means / comm.get_world_size()
    for buffer, mean in zip(statistics, means.split([b.numel() for b in statistics])):
        buffer.copy_(mean.view_as(buffer))


class AverageRunningStatistics(HookBase):
    """Makes the processes' models equal before each of them evaluates and one of them saves.

    ``periods`` are the iterations between evaluations and between checkpoints; 0: only at the end.
    """

    def __init__(self, periods: Sequence[int]) -> None:
        self.periods = [period for period in periods if period > 0]

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done >= self.trainer.max_iter or any(done % period == 0 for period in self.periods):
            self.average()

    def average(self) -> None:
        """Is called when it is due; all processes do so."""
        average_running_statistics(self.trainer.model)
