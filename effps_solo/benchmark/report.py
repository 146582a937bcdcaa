"""The results of a benchmark as Markdown, JSON and a picture."""

import json
from pathlib import Path
from typing import List, Optional, Sequence

from tabulate import tabulate

from effps_solo.utils.atomic import write_atomically

from .plot import draw_benchmark
from .runner import BASELINES, REFERENCE, TITLES, Summary, stages_of, title_of

NAME = "benchmark"
HEAD = """Times are medians over {num_runs} runs from pixels to panoptic map, one image at a time; all
backends take turns, each in a process of its own. CPU: processor time of all threads. Start: loading and
the first run. Memory: the peak of the process, libraries included, of torch on a GPU that of the GPU;
exported models run on the CPU. Things: objects in the map. Limit: the
time that the multiply-accumulates would take at the rate of a dense 3x3 convolution of 256 channels."""
BASELINE_NOTE = """The baselines are Detectron2's, untrained, in eager torch, and made to find as many things
as this model; on a CPU they keep freed memory as it does (where the C library is glibc and no variable
of the environment tunes it), except "as shipped". "Faster": than Panoptic FPN, in the same rounds."""
PEER_NOTE = """Of networks from other files (--peer) only the network is timed, from an image in its input to
its raw outputs: no resizing, no decoding, no map."""
NO_THINGS = """The model found nothing, so decoding and fusion had little to do; --scaling shows what they
cost."""


def markdown(summary: Summary) -> str:
    """The summary for people."""
    machine = summary["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    where = (
        f"{machine['model']}, {machine['threads']} of {machine['cores']} cores, native bf16: "
        f"{', '.join(machine['native_bf16']) or 'no'}; {versions}."
    )
    head = HEAD.format(num_runs=summary["num_runs"])
    parts = [f"# Benchmark of {summary['config']}", head, where]
    for measured in summary["sizes"]:
        parts += _size_parts(measured)
    if "scaling" in summary:
        parts += ["## Scaling", *_scaled_sizes(summary["scaling"]["sizes"])]
        parts += _scaled_objects(summary["scaling"]["objects"])
    return "\n\n".join(filter(None, parts)) + "\n"


def _size_parts(measured: Summary) -> List[str]:
    """Empty where there is nothing to say."""
    height, width = measured["size"]
    rows = measured["rows"]
    limits = [
        f"{name} {rate / 1e9:.0f} GMAC/s, so {measured['macs'] / rate * 1e3:.0f} ms"
        for name, rate in measured["limits"].items()
        if rate
    ]
    failed = [f"- {title_of(row)}: {row['error']}" for row in rows if "error" in row]
    return [
        f"## {height}x{width}",
        f"{measured['parameters'] / 1e6:.2f} M parameters, {measured['macs'] / 1e9:.1f} GMAC; weights: "
        f"{measured['weights'] or 'random'}. Limit: {'; '.join(limits) or 'not measured'}.",
        _backend_table(rows),
        BASELINE_NOTE if any(row["name"] in BASELINES for row in rows) else "",
        PEER_NOTE if any("title" in row for row in rows) else "",
        "" if measured["things"] else NO_THINGS,
        "\n".join(["Not measured:", "", *failed]) if failed else "",
        _stage_table(rows),
    ]


def _backend_table(rows: Sequence[Summary]) -> str:
    compared = any(row["name"] == REFERENCE for row in rows)
    head = ["backend", "p50 ms", "p95 ms", "images/s", "CPU ms", "start s", "memory MiB"]
    head += ["parameters M", "GMAC", "things", "x limit"] + ["faster"] * compared
    cells = []
    for row in rows:
        title = title_of(row)
        if "error" in row:
            cells.append([title, "-"] + [""] * (len(head) - 2))
            continue
        numbers = [
            f"{row['p50_seconds'] * 1e3:.0f}",
            f"{row['p95_seconds'] * 1e3:.0f}",
            f"{1 / row['p50_seconds']:.2f}",
            f"{row['process_seconds'] * 1e3:.0f}",
            f"{row['start_seconds']:.0f}",
            f"{row['peak_memory_bytes'] / 2**20:.0f}",
            _number(row["parameters"], 1, 1e-6),
            _number(row["macs"], 1, 1e-9),
            _number(row["things"], 0),
            _number(row["times_limit"], 1),
        ]
        cells.append([title, *numbers] + [_number(row.get("speedup"), 2)] * compared)
    return table(head, cells)


def _stage_table(rows: Sequence[Summary]) -> str:
    """Milliseconds and share of each stage; "" where nothing has stages."""
    shown = [row for row in rows if row.get("stages")]
    if not shown:
        return ""
    head = ["stage"] + [x for row in shown for x in (f"{title_of(row)} ms", "%")]
    cells = []
    for stage in stages_of(shown):
        line = [stage]
        for row in shown:
            seconds, whole = row["stages"].get(stage), sum(row["stages"].values())
            line += [_number(seconds, 1, 1e3), _number(seconds, 1, 100 / whole)]
        cells.append(line)
    return table(head, cells)


def _scaled_sizes(scaled: Summary) -> List[str]:
    cells = []
    for row in scaled["rows"]:
        size = f"{row['size'][0]}x{row['size'][1]}"
        if "error" in row:
            cells.append([size, row["error"], "", "", ""])
            continue
        added = row["peak_memory_bytes"] - row["loaded_memory_bytes"]
        numbers = [row["macs"] / 1e9, row["p50_seconds"] * 1e3]
        numbers += [added / 2**20, row["peak_memory_bytes"] / 2**20]
        cells.append([size, *(f"{number:.0f}" for number in numbers)])
    return [
        f"{TITLES[scaled['backend']]} against the size of the image. With the number of pixels grow the time "
        f"as its power {_number(scaled['time_exponent'], 2)}, the memory that a run adds as its power "
        f"{_number(scaled['memory_exponent'], 2)}.",
        table(["image", "GMAC", "p50 ms", "added MiB", "peak MiB"], cells),
    ]


def _scaled_objects(scaled: Summary) -> List[str]:
    height, width = scaled["size"]
    title = f"Decoding and fusion against the number of synthetic objects, {height}x{width}"
    if "error" in scaled:
        return [f"{title}: {scaled['error']}"]
    cells = []
    for row in scaled["rows"]:
        added = (row["memory"] - scaled["rows"][0]["memory"]) / 2**20
        times = [f"{row[stage] * 1e3:.1f}" for stage in ("decode", "fusion")]
        cells.append([str(row["objects"]), str(row["things"]), *times, f"{added:.0f}"])
    decode, fusion, memory = (_number(scaled["exponents"][k], 2) for k in scaled["exponents"])
    return [
        f"{title}. What they add grows as the power {decode} of their number in decoding, {fusion} in "
        f"fusion, {memory} in memory.",
        table(["objects", "things in the map", "decode ms", "fusion ms", "added MiB"], cells),
    ]


def _number(value: Optional[float], digits: int, scale: float = 1.0) -> str:
    return "-" if value is None else f"{value * scale:.{digits}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns stand below each other; numbers to the right."""
    align = ["left"] + ["right"] * (len(head) - 1)
    return tabulate(rows, head, tablefmt="pipe", disable_numparse=True, colalign=align)


def write_report(summary: Summary, output: Path) -> List[Path]:
    """Write benchmark.md, .json and .png; returns their paths."""
    paths = [output / f"{NAME}.{suffix}" for suffix in ("md", "json", "png")]
    write_atomically(paths[0], markdown(summary).encode())
    write_atomically(paths[1], json.dumps(summary, indent=1).encode())
    draw_benchmark(summary, paths[2])
    return paths
