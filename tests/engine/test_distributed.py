"""Several processes: the same training and the same scores as one process, through both launchers."""

import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import pytest
import torch
from torch import nn

from effps_solo.config import load_config
from effps_solo.engine import Trainer, distributed, launch
from effps_solo.utils.errors import ConfigError

NORMS = ("EFFICIENTNET", "TWO_WAY_FPN", "SEM_SEG_HEAD", "SOLOV2")
GN = {f"MODEL.{part}.NORM": "GN" for part in NORMS}
SYNC_BN = {f"MODEL.{part}.NORM": "naiveSyncBN" for part in NORMS}
# A random network in training multiplies rounding by up to 10 in a step of the usual size; AdamW also
# divides by gradients that are nothing else.
SMALL_STEPS = {
    "INPUT.CROP_SIZE": "(32, 64)",
    "SOLVER.OPTIMIZER": "SGD",
    "SOLVER.BASE_LR": 1e-5,
    "SOLVER.MAX_ITER": 20,
    "DATASETS.TEST": "()",
}
IMAGENET = {"MODEL.WEIGHTS": "imagenet://tf_efficientnet_lite0"}
# Until the images are recognised.
LONG_ENOUGH = {
    "INPUT.COLOR_JITTER": 0.0,
    "SOLVER.LR_SCHEDULER_NAME": "WarmupMultiStepLR",
    "SOLVER.STEPS": "()",
    "SOLVER.BASE_LR": 0.003,
    "SOLVER.MAX_ITER": 40,
}
LAUNCHERS = {
    "launch": [sys.executable, "{program}", "{jobs}", "--num-gpus", "2", "--dist-url", "auto"],
    "torchrun": [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "{program}", "{jobs}",
    ],
}  # fmt: skip


def start(name: str, jobs: List[Dict[str, Any]], program: Path, folder: Path) -> None:
    """Run the jobs in two processes; they must end by themselves."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps(jobs))
    command = [word.format(program=program, jobs=file) for word in LAUNCHERS[name]]
    environment = {**os.environ, "PYTHONPATH": str(program.parents[2]), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=500
    )
    assert result.returncode == 0, result.stderr[-3000:]


def compare(seen: List[Dict[str, float]], expected: List[Dict[str, float]], bound: float) -> None:
    assert [step["iteration"] for step in seen] == list(range(len(expected)))
    for step, truth in zip(seen, expected):
        assert step.keys() == truth.keys() and len(truth) == 5
        for name, value in truth.items():
            assert abs(step[name] - value) <= bound * max(1, abs(value)), (step, truth)


@pytest.mark.slow
def test_two_processes_equal_one_with_the_doubled_batch(
    one_empty_image: None,
    make_job: Any,
    run_here: Callable[[Any], None],
    program: Path,
    losses_of: Any,
    tmp_path: Path,
) -> None:
    settings: Dict[str, Any] = {
        "gn": ({**GN, **SMALL_STEPS}, 1e-9),
        "sync_bn": ({**SYNC_BN, **SMALL_STEPS, **IMAGENET, "INPUT.CROP_SIZE": "(64, 64)"}, 1e-9),
        "fp32": ({**GN, **SMALL_STEPS, "SOLVER.MAX_ITER": 3}, 1e-5),
    }
    run_here(make_job("trained", {**IMAGENET, **LONG_ENOUGH, "DATASETS.TEST": "()"}))
    weights = {"MODEL.WEIGHTS": tmp_path / "trained" / "model_final.pth"}
    evaluations = {
        name: make_job(f"eval_{name}", weights, "--eval-only", results=str(tmp_path / name))
        for name in ("launch", "torchrun", "alone")
    }
    jobs = [make_job(name, keys, float64=bound < 1e-6) for name, (keys, bound) in settings.items()]
    start("launch", [*jobs, evaluations["launch"]], program, tmp_path)
    again = make_job("gn_torchrun", settings["gn"][0], float64=True)
    start("torchrun", [again, evaluations["torchrun"]], program, tmp_path)

    for name, (keys, bound) in settings.items():
        run_here(make_job(f"{name}_alone", keys, float64=bound < 1e-6))
        compare(losses_of(name), losses_of(f"{name}_alone"), bound)
    compare(losses_of("gn_torchrun"), losses_of("gn_alone"), 1e-9)

    run_here(evaluations["alone"])
    expected, *others = (json.loads((tmp_path / n).read_text()) for n in ("alone", *LAUNCHERS))
    assert expected.keys() == {"panoptic_seg", "sem_seg", "segm"}
    assert expected["panoptic_seg"]["PQ"] > 10
    for scores in others:
        for task, values in expected.items():
            assert scores[task] == pytest.approx(values, abs=1e-9, nan_ok=True), task


def test_torchrun_alone_says_how_many_processes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "RANK",
        "WORLD_SIZE",
        "LOCAL_RANK",
        "LOCAL_WORLD_SIZE",
        "MASTER_ADDR",
        "MASTER_PORT",
    ):
        monkeypatch.setenv(name, "1")
    for counts in ({"num_gpus": 2, "num_machines": 1}, {"num_gpus": 1, "num_machines": 3}):
        with pytest.raises(ConfigError, match="torchrun started this process, and --num-gpus is"):
            launch(print, Namespace(**counts))


@pytest.mark.parametrize("with_torchrun", [True, False])
def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch, with_torchrun: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name in distributed._TORCHRUN:
        monkeypatch.delenv(name, raising=False)
        if with_torchrun:
            monkeypatch.setenv(name, "2")
    num_gpus = 1 if with_torchrun else 2
    with pytest.raises(ConfigError, match="2 processes .*torch sees 1 GPUs; .*VISIBLE_DEVICES=''"):
        launch(print, Namespace(num_gpus=num_gpus, num_machines=1))


@pytest.mark.parametrize("before, after", [(None, "4"), ("3", "3")])
def test_processes_on_cpus_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, before: Optional[str], after: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(distributed, "num_cores", lambda: 9)
    monkeypatch.setenv("OMP_NUM_THREADS", before or "")  # restored in the end
    if before is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    seen: List[Optional[str]] = []
    starts = lambda *_, **__: seen.append(os.environ.get("OMP_NUM_THREADS"))  # noqa: E731
    monkeypatch.setattr(distributed.engine, "launch", starts)
    machines = {"num_machines": 1, "machine_rank": 0, "dist_url": "auto"}
    launch(print, Namespace(num_gpus=2, **machines))
    assert seen == [after]


def test_one_process_needs_no_wrapper() -> None:
    model = nn.BatchNorm2d(2)
    before = model.state_dict()
    assert distributed.distribute(model) is model and distributed.unwrap(model) is model
    distributed.average_running_statistics(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_model_on_the_cpu_and_processes_that_talk_over_gpus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distributed.comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed.distributed, "get_backend", lambda: "nccl")
    with pytest.raises(ConfigError, match="MODEL.DEVICE is 'cpu'.*CUDA_VISIBLE_DEVICES"):
        distributed.distribute(nn.Linear(1, 1))


def test_running_statistics_become_the_mean_of_all_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The second process has 3 times the statistics of the first; weights stay as they are."""
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1), nn.BatchNorm2d(1))
    model[0].running_mean.copy_(torch.tensor([1.0, -2.0]))
    model[2].running_var.fill_(5.0)
    weights = [p.detach().clone() for p in model.parameters()]
    monkeypatch.setattr(distributed.comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(distributed.distributed, "all_reduce", lambda x: x.mul_(4))
    distributed.average_running_statistics(model)
    assert model[0].running_mean.tolist() == [2.0, -4.0] and model[0].running_var.tolist() == [2, 2]
    assert model[2].running_mean.tolist() == [0.0] and model[2].running_var.tolist() == [10.0]
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters()))
    model.eval()  # fixed statistics are equal everywhere already
    distributed.average_running_statistics(model)
    assert model[2].running_var.tolist() == [10.0]


def test_precise_statistics_are_averaged_before_anybody_looks(tiny_config: Path) -> None:
    words = ["TEST.PRECISE_BN.ENABLED", "True", "TEST.EVAL_PERIOD", "3"]
    trainer = Trainer(load_config(str(tiny_config), words))
    kinds = [type(hook).__name__ for hook in trainer._hooks]
    behind = kinds[kinds.index("PreciseBN") + 1 :]
    assert behind.index("AverageRunningStatistics") < behind.index("PeriodicCheckpointer")
    assert behind.index("AverageRunningStatistics") < behind.index("EvalHook")


def test_when_running_statistics_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: List[int] = []
    hook = distributed.AverageRunningStatistics([3, 0, 4])
    hook.trainer = Namespace(iter=0, max_iter=11, model=None)
    monkeypatch.setattr(
        distributed, "average_running_statistics", lambda model: seen.append(hook.trainer.iter + 1)
    )
    for hook.trainer.iter in range(11):
        hook.after_step()
    assert seen == [3, 4, 6, 8, 9, 11]


def test_machines_need_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in distributed._TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="--num-machines is 2; .*--dist-url tcp://HOST:PORT"):
        launch(print, Namespace(num_gpus=1, num_machines=2, machine_rank=0, dist_url="auto"))


def test_a_check_of_the_main_process_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise ConfigError("wrong")

    distributed.on_main_process(lambda: None)
    with pytest.raises(ConfigError, match="wrong"):
        distributed.on_main_process(fails)
    monkeypatch.setattr(distributed.comm, "is_main_process", lambda: False)
    monkeypatch.setattr(distributed.comm, "all_gather", lambda failed: [True, failed])
    with pytest.raises(SystemExit) as end:
        distributed.on_main_process(fails)  # is not called here
    assert end.value.code == 1
