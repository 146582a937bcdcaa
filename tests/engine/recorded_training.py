"""A program for tests: trains as `effps-solo train` does and records the losses of every step.

``recorded_training.py JOBS [options of Detectron2's launch]``, where JOBS is a JSON file with a list
of jobs, done one after the other: "words" (its command line), "record" (a file that
gets one JSON line a step), "float64", "results" (a file for the evaluation's), "poison" (iterations
in which the last process gets a bad image), "stop" (the number of a signal that the last process gets
when an evaluation begins).
"""

import json
import math
import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, Dict, List, Tuple

import torch
from detectron2.engine import HookBase, default_argument_parser
from detectron2.utils import comm

from effps_solo.cli import training
from effps_solo.cli.train import add_arguments
from effps_solo.engine import Trainer, launch

ROOT = Path(__file__).resolve().parents[2]


class Recorder(HookBase):
    """Appends the losses of each step, as exact as they are."""

    def __init__(self, path: str) -> None:
        self.path = path

    def after_step(self) -> None:
        latest = self.trainer.storage.latest()
        losses = {n: value for n, (value, at) in latest.items() if "loss" in n and "/" not in n}
        if comm.is_main_process():
            with open(self.path, "a") as file:
                file.write(json.dumps({"iteration": self.trainer.iter, **losses}) + "\n")


def run_job(job: Dict[str, Any]) -> None:
    class RecordedTrainer(Trainer):
        def build_hooks(self) -> List[HookBase]:
            # First: a step whose checkpoint is there must not lack its line when a kill comes between.
            return [Recorder(job["record"]), *super().build_hooks()]

        def evaluate(self) -> Dict[str, Any]:
            if comm.get_rank() == comm.get_world_size() - 1:
                self.stop_signals.received = job.get("stop", 0)
            return super().evaluate()

        def run_step(self) -> None:
            bad = (
                self.iter in job.get("poison", []) and comm.get_rank() == comm.get_world_size() - 1
            )
            handle = self.model.register_forward_pre_hook(_poison) if bad else None
            super().run_step()
            if handle:
                handle.remove()

    parser = ArgumentParser()
    add_arguments(parser)
    before = torch.get_default_dtype()
    # A test runs jobs in its own process: what comes after it must train with the real one.
    training.Trainer = RecordedTrainer
    torch.set_default_dtype(torch.float64 if job.get("float64") else torch.float32)
    try:
        results = training.train(parser.parse_args(job["words"]))
    finally:
        training.Trainer = Trainer
        torch.set_default_dtype(before)
    if comm.is_main_process() and "results" in job:
        Path(job["results"]).write_text(json.dumps(results))


def _poison(model: torch.nn.Module, inputs: Tuple[Any, ...]) -> None:
    for mapped in inputs[0]:
        mapped["image"] = mapped["image"].float() * math.nan


def run_jobs(args: Namespace) -> None:
    torch.set_num_threads(1)
    for job in json.loads(Path(args.jobs).read_text()):
        run_job(job)


def run_forked(job: Dict[str, Any], environment: Dict[str, str]) -> None:
    """One job in a process that multiprocessing started, silently."""
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    if not os.environ.get("SHOW_ERRORS"):
        os.dup2(silence, 2)
    os.environ.update(environment)
    torch.set_num_threads(1)
    args = default_argument_parser().parse_args([])
    launch(lambda _: run_job(job), args)


if __name__ == "__main__":
    arguments = default_argument_parser().parse_args(sys.argv[2:])
    arguments.jobs = sys.argv[1]
    launch(run_jobs, arguments)
if "FORKED" in globals():
    run_forked(*globals()["FORKED"])
