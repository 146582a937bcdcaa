"""The whole benchmark as one summary of JSON types."""

import importlib.metadata
import math
import platform
import statistics
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from effps_solo.utils.machine import cpu

from .images import make_images
from .measure import fitted_exponent
from .rounds import NUM_WARM_UP, Outcome, Say, call_once, median_shares, run_rounds
from .stages import STAGES
from .worker import Task, Worker, WorkerFailed

BACKENDS = ("torch", "compiled", "bf16", "compiled-bf16", "onnx", "openvino")
BASELINES = ("panoptic-fpn", "panoptic-fpn-shipped", "panoptic-deeplab")
TITLES = {
    "torch": "torch",
    "compiled": "torch.compile",
    "bf16": "torch, bf16",
    "compiled-bf16": "torch.compile, bf16",
    "onnx": "ONNX Runtime",
    "openvino": "OpenVINO",
    "panoptic-fpn": "Panoptic FPN R50",
    "panoptic-fpn-shipped": "Panoptic FPN R50, as shipped",
    "panoptic-deeplab": "Panoptic-DeepLab R52",
}
REFERENCE = "panoptic-fpn"  # that ratios refer to
SCALING_SIZES = ((256, 512), (512, 1024), (1024, 2048), (2048, 4096))
OBJECT_COUNTS = (0, 25, 50, 100, 200, 400)
RUNTIMES = {"onnx": ".onnx", "openvino": ".xml"}  # and the files that they are given
_LIMITS = {"fp32": "conv-fp32", "bf16": "conv-bf16"}
_LIBRARIES = ("torch", "detectron2", "sal-detectron2", "onnxruntime", "openvino")

Summary = Dict[str, Any]
Size = Tuple[int, int]


def title_of(row: Summary) -> str:
    """What people call a row."""
    return str(row.get("title") or TITLES[row["name"]])


def stages_of(rows: Sequence[Summary]) -> List[str]:
    """The stages that any of the rows has, in the order of an image's way."""
    return [s for s in STAGES if any(s in row.get("stages", {}) for row in rows)]


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        config_file, overrides, allow_unsafe: of :func:`effps_solo.config.load_config`.
        sizes: (H, W) of the images.
        inputs: images; empty: synthetic ones.
        backends: of ``BACKENDS``.
        num_runs: of each backend, besides those to warm up.
        threads: of the CPU.
        compare: measure the baselines, too.
        scaling: measure how time and memory grow, too.
        peers: ONNX files of other networks, measured in those of ``RUNTIMES`` that are backends.
    """

    config_file: str
    overrides: Tuple[str, ...]
    allow_unsafe: bool
    sizes: Sequence[Size]
    inputs: Sequence[Path]
    backends: Sequence[str]
    num_runs: int
    threads: int
    compare: bool = False
    scaling: bool = False
    peers: Sequence[Path] = ()

    def task(self, kind: str, size: Size, images: Sequence[str] = (), **more: Any) -> Task:
        """A task on images of ``size``."""
        settings = (self.config_file, self.overrides, self.allow_unsafe, self.threads)
        return Task(kind, *settings, tuple(images), size, **more)


def run_benchmark(plan: Plan, folder: Path, say: Say) -> Summary:
    """Measure everything.

    Args:
        folder: for images, exported files and logs.
        say: tells the user how far it is.

    Raises:
        UserError: the model cannot be run at all.
    """
    summary: Summary = {
        "config": Path(plan.config_file).name,
        "machine": describe_machine(plan.threads),
        "num_runs": plan.num_runs,
        "sizes": [measure_size(plan, size, folder, say) for size in plan.sizes],
    }
    if plan.scaling:
        summary["scaling"] = {
            "sizes": _scale_sizes(plan, folder, say),
            "objects": _scale_objects(plan, folder, say),
        }
    return summary


def describe_machine(threads: int) -> Summary:
    """Processor, threads, versions."""
    versions = {}
    for name in _LIBRARIES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    python = platform.python_version()
    return {**cpu(), "threads": threads, "python": python, "versions": versions}


def measure_size(plan: Plan, size: Size, folder: Path, say: Say) -> Summary:
    """All backends of the plan on images of one size, in the same rounds.

    Returns:
        "size", what the preparation tells of the model, "limits" (MAC/s by number format) and "rows": for
        every backend, baseline and peer its name and the summary of its outcome, with "times_limit" and
        "speedup" over the reference where they are known.
    """
    folder = folder / f"{size[0]}x{size[1]}"
    folder.mkdir(parents=True, exist_ok=True)  # for the logs
    images = make_images(folder / "images", size, plan.inputs)
    paths = {b: str(folder / f"model{RUNTIMES[b]}") for b in plan.backends if b in RUNTIMES}
    say(f"{size[0]}x{size[1]}: counting" + " and exporting" * bool(paths))
    prepared = call_once(plan.task("prepare", size, images, paths=tuple(paths.values())), folder)
    missing = {b: reason for b in paths if (reason := prepared["missing"].get(RUNTIMES[b]))}
    on_gpu = prepared["device"].startswith("cuda")
    baselines = list(BASELINES) if plan.compare else []
    if on_gpu and plan.compare:
        baselines.remove("panoptic-fpn-shipped")  # memory is as shipped anyway

    kinds = [kind for k, kind in _LIMITS.items() if k == "fp32" or on_gpu or _cpu_has_bf16()]
    tasks = {kind: plan.task(kind, size, images) for kind in kinds}
    for name in plan.backends:
        if name not in missing:
            own_paths = tuple(path for backend, path in paths.items() if backend == name)
            tasks[name] = plan.task(name, size, images, paths=own_paths)
    for name in baselines:
        things = math.ceil(prepared["things"])
        tasks[name] = plan.task(name, size, images, num_things=things)
    peers = {
        f"peer-{runtime}-{number}": (runtime, path)
        for number, path in enumerate(plan.peers)
        for runtime in plan.backends
        if runtime in RUNTIMES
    }
    for name, (runtime, path) in peers.items():
        tasks[name] = plan.task(f"peer-{runtime}", size, images, paths=(str(path),))
    outcomes = run_rounds(tasks, plan.num_runs, folder, say)

    outcomes.update({b: Outcome(error=reason) for b, reason in missing.items()})
    limits = {k: _rate(outcomes[kind]) for k, kind in _LIMITS.items() if kind in outcomes}
    own = {key: prepared[key] for key in ("parameters", "macs")}
    names = (*plan.backends, *baselines)
    rows = [{**own, "name": name, **outcomes[name].summary()} for name in names]
    for name, (runtime, path) in peers.items():
        title = f"{path.stem} (network), {TITLES[runtime]}"
        rows.append({"name": name, "title": title, **outcomes[name].summary()})
    _relate(rows, limits, on_gpu)
    return {"size": list(size), **prepared, "limits": limits, "rows": rows}


def _cpu_has_bf16() -> bool:
    return bool(cpu()["native_bf16"])


def _rate(outcome: Outcome) -> Optional[float]:
    """MAC/s."""
    if outcome.error is not None:
        return None
    return outcome.last["macs"] / statistics.median(outcome.wall)


def _relate(
    rows: Sequence[Summary], limits: Dict[str, Optional[float]], on_gpu: bool = False
) -> None:
    """Add to every row how far it is from the machine's limit and from the reference.

    Args:
        on_gpu: limits and reference are those of a GPU; what is exported runs on the CPU all the same.
    """
    measured = {row["name"]: row for row in rows if "error" not in row}
    for name, row in measured.items():
        is_apart = on_gpu and any(runtime in name for runtime in RUNTIMES)
        row["format"] = number_format(name, _cpu_has_bf16() if is_apart else "bf16" in limits)
        rate = None if is_apart else limits.get(row["format"])
        known = rate and row["macs"]
        row["times_limit"] = row["p50_seconds"] / (row["macs"] / rate) if known else None
        if REFERENCE in measured and not is_apart:
            row["speedup"] = measured[REFERENCE]["p50_seconds"] / row["p50_seconds"]


def number_format(name: str, has_bf16: bool) -> str:
    """What a backend computes in; OpenVINO in bf16 by itself where the processor has it."""
    return "bf16" if name.endswith("bf16") or ("openvino" in name and has_bf16) else "fp32"


def _scale_sizes(plan: Plan, folder: Path, say: Say) -> Summary:
    """Time and memory of the first backend against the size of the image."""
    plan = replace(plan, backends=plan.backends[:1], compare=False, peers=())
    rows = []
    for size in SCALING_SIZES:
        measured = measure_size(plan, size, folder / "scaling", say)
        rows.append({"size": list(size), "macs": measured["macs"], **measured["rows"][0]})
    good = [row for row in rows if "error" not in row]
    pixels = [math.prod(row["size"]) for row in good]
    memory = [row["peak_memory_bytes"] - row["loaded_memory_bytes"] for row in good]
    return {
        "backend": plan.backends[0],
        "rows": rows,
        "time_exponent": fitted_exponent(pixels, [row["p50_seconds"] for row in good]),
        "memory_exponent": fitted_exponent(pixels, memory),
    }


def _scale_objects(plan: Plan, folder: Path, say: Say) -> Summary:
    """Time and memory of decoding and fusion against the number of objects, at the first size."""
    size = plan.sizes[0]
    say(f"decoding and fusion of {', '.join(map(str, OBJECT_COUNTS))} objects")
    peaks = []
    try:
        with closing(Worker(plan.task("objects", size), folder / "objects.log")) as worker:
            worker.wait_until_ready()
            for count in OBJECT_COUNTS:  # ascending, because a peak does not fall
                answers = [worker.run(count) for _ in range(NUM_WARM_UP)]
                peaks.append(answers[-1]["peak_memory_bytes"])
            rounds = [[worker.run(count) for count in OBJECT_COUNTS] for _ in range(plan.num_runs)]
    except WorkerFailed as error:
        return {"size": list(size), "error": str(error)}
    rows = []
    for count, peak, of_count in zip(OBJECT_COUNTS, peaks, zip(*rounds)):
        shares = median_shares([answer["stages"] for answer in of_count])
        things = of_count[0]["things"]
        rows.append({"objects": count, "things": things, **shares, "memory": peak})
    return {"size": list(size), "rows": rows, "exponents": _growth(rows)}


def _growth(rows: Sequence[Summary]) -> Summary:
    """Exponents of what the objects add to the first row, which has none."""
    counts = [row["objects"] for row in rows]
    return {
        key: fitted_exponent(counts, [row[key] - rows[0][key] for row in rows])
        for key in ("decode", "fusion", "memory")
    }
