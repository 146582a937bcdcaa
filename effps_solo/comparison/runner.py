"""Runs of a comparison: each is trained, evaluated and measured once, whatever stops it between.

A run has a folder, OUTPUT_DIR of its training, with compare.log, all that its programs said, and,
once it is done, result.json.
"""

import fcntl
import json
import math
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence

import yaml

from effps_solo.benchmark.worker import environment
from effps_solo.utils.atomic import write_atomically
from effps_solo.utils.errors import ConfigError, UserError

from .metrics import SCORES, Value
from .plan import Run

Result = Dict[str, Any]

# Modules, the first with its command.
TRAIN = ("effps_solo", "train")
MEASURE = f"{__package__}.measure"
RESULT_NAME, LOG_NAME, MEASUREMENT_NAME = "result.json", "compare.log", "measurement.json"
# Of the SCORES in metrics.json, in their order.
_SCORE_KEYS = tuple(
    f"{'segm' if s.key.startswith('AP') else 'panoptic_seg'}/{s.key}" for s in SCORES
)
_TAIL_LINES = 12
_GRACE_SECONDS = 20
_FROM_DATA = -1  # a NUM_CLASSES that training replaces by that of the data set


class RunFailed(UserError):
    """A run did not give a result; the message says why and where the log is."""


def check_run(run: Run) -> Dict[str, Any]:
    """The whole config of a run, so that mistakes show before hours of training.

    Raises:
        ConfigError: the config cannot be used, or it evaluates on more
            than one data set.
    """
    from effps_solo.config import check_device, read_config

    cfg = read_config(str(run.config), run.opts)
    check_device(cfg)
    if len(cfg.DATASETS.TEST) != 1:
        raise ConfigError(
            f"{run.config}: DATASETS.TEST is {tuple(cfg.DATASETS.TEST)}; name the one data set to "
            "compare on"
        )
    return yaml.safe_load(cfg.dump())


def load_result(run: Run, output: Path) -> Optional[Result]:
    """What result.json holds; None where the run is not done.

    Raises:
        RunFailed: the file is damaged.
    """
    path = output / run.name / RESULT_NAME
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RunFailed(f"{path} is damaged ({error}); remove it") from error


def complete_run(run: Run, output: Path, num_threads: Optional[int] = None) -> Result:
    """The result of a run; whatever is missing for it is done, from the last checkpoint on.

    Args:
        output: folder of all runs.
        num_threads: of the programs; None leaves it to torch.

    Raises:
        RunFailed: a program failed, the folder holds a run with another config, or another process
            works in it.
        ConfigError: see :func:`check_run`.
    """
    folder = output / run.name
    _check_same_config(check_run(run), folder)
    result = load_result(run, output)
    if result is not None:
        return result
    folder.mkdir(parents=True, exist_ok=True)
    overrides = [*run.opts, "OUTPUT_DIR", str(folder), "SEED", str(run.seed)]
    config = ["--config-file", str(run.config)]
    weights = ["MODEL.WEIGHTS", str(folder / "model_final.pth")]
    measure = [sys.executable, "-m", MEASURE, str(run.config)]
    with _locked_log(folder / LOG_NAME) as log:
        _call([sys.executable, "-m", *TRAIN, *config, "--resume", *overrides], log, num_threads)
        measurement = folder / MEASUREMENT_NAME
        _call([*measure, str(measurement), *overrides, *weights], log, num_threads)
        metrics = read_metrics(folder / "metrics.json")
        result = {
            "data_set": run.data_set,
            "method": run.method,
            "seed": run.seed,
            "config": str(run.config),
            "opts": list(run.opts),
            **final_scores(metrics),
            "training_seconds": training_seconds(metrics),
            **json.loads(measurement.read_text(encoding="utf-8")),
        }
        write_atomically(folder / RESULT_NAME, json.dumps(result, indent=1).encode())
    return result


def read_metrics(path: Path) -> List[Dict[str, Any]]:
    """The lines of Detectron2's metrics.json, without those that were cut off."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # the process was killed while it wrote
            lines.append(json.loads(text))
    return lines


def final_scores(metrics: Sequence[Mapping[str, Any]]) -> Dict[str, Value]:
    """The scores of the last evaluation in percent; None for those that it lacks or are NaN.

    Raises:
        RunFailed: no line holds a score.
    """
    evaluations = [line for line in metrics if any(key in line for key in _SCORE_KEYS)]
    if not evaluations:
        raise RunFailed("training ended without PQ and AP in metrics.json; see MODEL.OUTPUTS")
    values = [evaluations[-1].get(key, math.nan) for key in _SCORE_KEYS]
    return {
        metric.key: value if math.isfinite(value) else None for metric, value in zip(SCORES, values)
    }


def training_seconds(metrics: Iterable[Mapping[str, Any]]) -> float:
    """The time of all iterations, as if nothing had interrupted them.

    A line holds the median time of the iterations since the line before. Iterations that were done
    again after an interruption count once; evaluation and checkpoints do not.
    """
    time_at = {line["iteration"]: line["time"] for line in metrics if "time" in line}
    return sum(time_at[this] * (this - before) for before, this in pairwise([-1, *sorted(time_at)]))


def _check_same_config(config: Mapping[str, Any], folder: Path) -> None:
    """Raise RunFailed when the run in ``folder`` was begun with other values.

    Keys that only one of both has are none of the user's doing: a release brought them.
    """
    from effps_solo.config.migration import migrate

    try:
        begun = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")) or {}
    except (FileNotFoundError, yaml.YAMLError):
        return  # not begun, or killed while it began
    migrate(begun, str(folder / "config.yaml"))
    before, now = dict(_flat(begun)), dict(_flat(config))
    for key in before.keys() & now.keys() - {"OUTPUT_DIR", "SEED"}:
        if before[key] != now[key] and now[key] != _FROM_DATA:
            raise RunFailed(
                f"{folder} was begun with {key} {before[key]!r}, which is {now[key]!r} now; remove the "
                "folder to train anew, or choose another --output"
            )


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[Any]:
    """(dotted key, value) of a nested dict."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@contextmanager
def _locked_log(path: Path) -> Iterator[IO[bytes]]:
    """The log, to append to.

    The programs inherit the lock with their output: it is held as long as one of them lives, even
    where this process was killed.
    """
    with open(path, "ab") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFailed(
                f"{path.parent} is in use by another process; stop it or wait"
            ) from error
        yield log


def _call(command: Sequence[str], log: IO[bytes], num_threads: Optional[int]) -> None:
    """Run a program to its end; it dies with this one on Ctrl-C.

    Raises:
        RunFailed: it failed; with the end of its log.
    """
    # Its own session: Ctrl-C reaches it through _stop alone, and its workers with it.
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment(num_threads),
        start_new_session=True,
    )
    try:
        status = child.wait()
    except BaseException:
        _stop(child)
        raise
    if status == 0:
        return
    reason = f"status {status}"
    if status < 0:
        reason = f"signal {-status}" + ", perhaps for lack of memory" * (status == -signal.SIGKILL)
    lines = Path(log.name).read_text(encoding="utf-8", errors="replace").splitlines()
    tail = "\n    ".join([line for line in lines if line.strip()][-_TAIL_LINES:])
    raise RunFailed(f"{command[2]} ended with {reason}; the end of {log.name}:\n    {tail}")


def _stop(child: "subprocess.Popen[bytes]") -> None:
    """End a program and its workers; what it did since its last checkpoint is lost."""
    try:
        os.killpg(child.pid, signal.SIGTERM)
        child.wait(_GRACE_SECONDS)
    except ProcessLookupError:
        child.wait()
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
