"""The results of a comparison as Markdown, JSON and a picture."""

import itertools
import json
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Tuple

from effps_solo.utils.atomic import write_atomically

from .metrics import METRICS, is_difference, means_by_metric, spread_by_metric
from .plan import Plan, Run
from .runner import Result

NAME = "comparison"
NONE = "none"
HEAD = """# Comparison

Means over the seeds. The spread is the largest distance between two seeds of one method on a data set; a
difference of two means that is not greater is "none".

PQ and AP: percent, on the validation images. GMAC: 10^9 multiply-accumulates of convolutions and matrix
products, mean over {num_images} validation images. Training: the time of the iterations, every 20 of them
counted by their median; evaluation, checkpoints and interruptions are left out. Inference: median over
the same images, one at a time, from pixels to panoptic map. Peak memory: of the inference process,
libraries included; on a GPU, of the GPU."""
MINUS = "\N{MINUS SIGN}"

Summary = Dict[str, Any]
Row = Sequence[str]


def summarize(plan: Plan, results: Mapping[Run, Result]) -> Summary:
    """The comparison as JSON types.

    Args:
        results: of some or all runs of the plan.

    Returns:
        "data_sets": by name "seeds", "methods" (by name "seeds", results by seed, and "mean"),
        "spread" (None where no method has results of two seeds) and "differences"; "missing": names
        of runs without a result; "machines": device and threads of all runs; "num_images".
    """
    data_sets = {}
    for data_set, seeds in plan.seeds.items():
        by_method: Dict[str, Dict[int, Result]] = {}
        for run in plan.runs:
            if run.data_set == data_set and run in results:
                by_method.setdefault(run.method, {})[run.seed] = results[run]
        data_sets[data_set] = {"seeds": list(seeds), **_summarize_data_set(plan, by_method)}
    return {
        "data_sets": data_sets,
        "missing": [run.name for run in plan.runs if run not in results],
        "machines": sorted({_machine(result) for result in results.values()}),
        "num_images": max((result["num_images"] for result in results.values()), default=0),
    }


def _summarize_data_set(plan: Plan, by_method: Mapping[str, Mapping[int, Result]]) -> Summary:
    results = {m: list(by_method[m].values()) for m in plan.methods if m in by_method}
    if len({_machine(r) for of_seeds in results.values() for r in of_seeds}) > 1:
        nothing = {metric.key: None for metric in METRICS if metric.of_machine}
        results = {m: [{**r, **nothing} for r in of_seeds] for m, of_seeds in results.items()}
    has_spread = any(len(of_seeds) > 1 for of_seeds in results.values())
    spreads = spread_by_metric(list(results.values()))
    means = {method: means_by_metric(of_seeds) for method, of_seeds in results.items()}
    pairs = itertools.combinations(results, 2) if has_spread else ()
    return {
        "methods": {
            m: {"seeds": {str(k): r for k, r in by_method[m].items()}, "mean": means[m]}
            for m in results
        },
        "spread": spreads if has_spread else None,
        "differences": [
            {"first": a, "second": b, **_differences(means[a], means[b], spreads)} for a, b in pairs
        ],
    }


def _differences(first: Summary, second: Summary, spreads: Summary) -> Summary:
    """Metric -> "difference" of the means, and "beyond_spread", None where that is not known."""
    found = {}
    for key in spreads:
        a, b = first[key], second[key]
        found[key] = {
            "difference": None if a is None or b is None else a - b,
            "beyond_spread": is_difference(a, b, spreads[key]),
        }
    return found


def _machine(result: Result) -> str:
    return f"{result['device']}, threads: {result['threads']}"


def markdown(summary: Summary) -> str:
    """The summary for people, as Markdown."""
    machines = summary["machines"]
    where = f"Measured on: {'; '.join(machines) or 'nothing yet'}."
    if len(machines) > 1:
        where += " Times and memory are left out where results of a data set are of several."
    parts = [HEAD.format(num_images=summary["num_images"] or "some"), where]
    for name, data_set in summary["data_sets"].items():
        parts += [f"## {name}", *_data_set_parts(data_set)]
    if summary["missing"]:
        parts += ["## Missing", "\n".join(f"- {name}" for name in summary["missing"])]
    return "\n\n".join(parts) + "\n"


def _data_set_parts(data_set: Summary) -> List[str]:
    methods, differences = data_set["methods"], data_set["differences"]
    if not methods:
        return ["No results yet."]
    rows = [[name, ", ".join(m["seeds"]), *_texts(m["mean"])] for name, m in methods.items()]
    more = [_table(["difference"], map(_difference_row, differences))] if differences else []
    if data_set["spread"] is None:
        so_far = "" if len(data_set["seeds"]) == 1 else " so far"
        more = [f"One seed{so_far}: no spread known, so no difference is told."]
    else:
        rows.append(["spread", "", *_texts(data_set["spread"])])
    return [_table(["method", "seeds"], rows), *more]


def _texts(values: Summary) -> List[str]:
    return [metric.text(values[metric.key]) for metric in METRICS]


def _difference_row(pair: Summary) -> Row:
    cells = []
    for metric in METRICS:
        found = pair[metric.key]
        text = metric.text(found["difference"], sign="+").replace("-", MINUS)
        cells.append({True: text, False: NONE, None: "-"}[found["beyond_spread"]])
    return [f"{pair['first']} {MINUS} {pair['second']}", *cells]


def _table(first: Row, rows: Iterable[Row]) -> str:
    """Of the metrics, behind the columns ``first``."""
    head = [*first, *(metric.title for metric in METRICS)]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_report(plan: Plan, results: Mapping[Run, Result], output: Path) -> Tuple[str, List[Path]]:
    """Write comparison.md, .json and, where there are results, .png.

    Returns:
        the Markdown, and the files.
    """
    summary = summarize(plan, results)
    text = markdown(summary)
    paths = [output / f"{NAME}.{suffix}" for suffix in ("md", "json", "png")]
    write_atomically(paths[0], text.encode())
    write_atomically(paths[1], json.dumps(summary, indent=1).encode())
    if not results:
        return text, paths[:2]
    from .plot import draw_comparison

    draw_comparison(summary, plan.methods, paths[2])
    return text, paths
