"""Reports of hand-made results."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
from PIL import Image

from effps_solo.comparison.plan import Plan, Run, read_table
from effps_solo.comparison.report import markdown, summarize, write_report

Results = Dict[Run, Dict[str, Any]]


@pytest.fixture
def plan(table: Path) -> Plan:
    return read_table(table)


@pytest.fixture
def results(plan: Plan, make_result: Callable[..., Dict[str, Any]]) -> Results:
    """Of all runs but one: cells with PQ 60, 62 against 50, 51; AP 20, 23 against 22, 22."""
    values = [
        make_result(PQ=60.0, AP=20.0, inference_seconds=0.2),
        make_result(PQ=50.0, AP=22.0, inference_seconds=0.4),
        make_result(PQ=62.0, AP=23.0, inference_seconds=0.21),
        make_result(PQ=51.0, AP=22.0, inference_seconds=0.4),
        make_result(PQ=33.3, AP=None, PQ_th=None),
    ]
    return dict(zip(plan.runs, values))


def rows(text: str, head: str) -> List[List[str]]:
    """Cells of the rows of a table that begin with ``head``."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {head} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_tables_by_hand(plan: Plan, results: Results) -> None:
    text = markdown(summarize(plan, results))
    first, alone = rows(text, "New head")
    borders, costs = ["30.0"], ["3.10", "1.8", "30.0"]
    assert first == [
        "New head",
        "1, 2",
        "61.0",
        "40.0",
        "60.0",
        *borders,
        "21.5",
        "15.0",
        *costs,
        "205",
        "600",
    ]
    assert alone == [
        "New head",
        "7",
        "33.3",
        "-",
        "60.0",
        *borders,
        "-",
        "15.0",
        *costs,
        "250",
        "600",
    ]
    (second,) = rows(text, "R-CNN")
    assert second[2:8] == ["50.5", "40.0", "60.0", *borders, "22.0", "15.0"]
    (spread,) = rows(text, "spread")
    assert spread[2:] == ["2.0", "0.0", "0.0", "0.0", "3.0", "0.0", "0.00", "0.0", "0.0", "10", "0"]
    # PQ differs by 10.5 > 2, AP by 0.5 < 3, inference by 195 ms > 10 ms.
    (difference,) = rows(text, "New head \u2212 R-CNN")
    none = ["none"] * 2
    assert difference[1:] == ["+10.5", *none, *none, *none, *none, "\u2212195", "none"]


def test_one_seed_borrows_no_spread(plan: Plan, results: Results) -> None:
    text = markdown(summarize(plan, results))
    _, _, town = text.partition("## Old Town")
    assert "One seed: no spread known" in town
    assert "spread |" not in town and "\u2212" not in town


def test_missing_runs_are_named(plan: Plan, results: Results) -> None:
    text = markdown(summarize(plan, results))
    assert text.partition("## Missing")[2].split() == ["-", "old_town/rcnn/seed7"]
    first_seeds = {run: result for run, result in results.items() if run.seed == 1}
    text = markdown(summarize(plan, first_seeds))
    cells = text.partition("## cells")[2].partition("## Old Town")[0]
    assert "One seed so far: no spread known" in cells and "none" not in cells
    assert "No results yet." in text and text.count("\n- ") == 4


def test_a_complete_comparison_misses_nothing(plan: Plan, results: Results) -> None:
    results[plan.runs[-1]] = results[plan.runs[0]]
    assert "Missing" not in markdown(summarize(plan, results))


def test_different_machines_are_told(plan: Plan, results: Results) -> None:
    text = markdown(summarize(plan, results))
    assert "Measured on: cpu, threads: 2.\n" in text
    results[plan.runs[0]]["threads"] = 1
    text = markdown(summarize(plan, results))
    assert "cpu, threads: 1; cpu, threads: 2. Times and memory are left out" in text
    (first, town), (spread,) = rows(text, "New head"), rows(text, "spread")
    assert first[-5:] == ["3.10", "1.8", "-", "-", "-"] and spread[-3:] == ["-"] * 3
    assert town[-3:] == ["30.0", "250", "600"]
    (difference,) = rows(text, "New head \u2212 R-CNN")
    assert difference[1] == "+10.5" and difference[-3:] == ["-"] * 3


def test_files(plan: Plan, results: Results, tmp_path: Path) -> None:
    text, paths = write_report(plan, results, tmp_path / "some" / "folder")
    markdown_path, json_path, picture = paths
    assert markdown_path.read_text() == text
    content = json.loads(json_path.read_text())
    cells = content["data_sets"]["cells"]
    assert cells["spread"]["PQ"] == 2.0
    assert cells["methods"]["New head"]["seeds"]["2"]["PQ"] == 62.0
    assert cells["methods"]["New head"]["mean"]["PQ"] == 61.0
    (pair,) = cells["differences"]
    assert (pair["first"], pair["second"]) == ("New head", "R-CNN")
    assert pair["PQ"] == {"difference": 10.5, "beyond_spread": True}
    assert pair["AP"] == {"difference": -0.5, "beyond_spread": False}
    assert content["data_sets"]["Old Town"]["spread"] is None
    assert content["missing"] == ["old_town/rcnn/seed7"]
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    # Two rows of panels; the colours of both methods fill bars.
    assert pixels.shape[1] > 1500 and pixels.shape[0] > 250
    for low, high in (((90, 130, 180), (130, 165, 215)), ((220, 150, 70), (245, 180, 110))):
        assert ((pixels >= low) & (pixels <= high)).all(-1).sum() > 2000


def test_without_results(plan: Plan, tmp_path: Path) -> None:
    text, paths = write_report(plan, {}, tmp_path)
    assert text.count("No results yet.") == 2 and text.count("\n- ") == 6
    assert [path.name for path in paths] == ["comparison.md", "comparison.json"]
    assert json.loads(paths[1].read_text())["num_images"] == 0
