"""How outcomes become rows."""

from typing import Any, Dict

import pytest

from effps_solo.benchmark import runner
from effps_solo.benchmark.rounds import Outcome


def outcome(seconds: float, **last: Any) -> Outcome:
    run = {"wall": seconds, "process": seconds, "things": 0, "stages": {}}
    return Outcome(runs=[run, run], last=last)


def row(name: str, seconds: float, macs: float) -> Dict[str, Any]:
    return {"name": name, "p50_seconds": seconds, "macs": macs}


def test_distances() -> None:
    rows = [
        row("torch", 0.5, 4e9),
        row("openvino", 0.2, 4e9),
        {"name": "onnx", "error": "not installed"},
        row("panoptic-fpn", 2.0, 40e9),
    ]
    runner._relate(rows, {"fp32": 20e9, "bf16": 80e9})
    assert [r.get("speedup") for r in rows] == pytest.approx([4, 10, None, 1])
    # 4 GMAC take 200 ms in fp32, 50 ms in bf16.
    assert [r.get("times_limit") for r in rows] == pytest.approx([2.5, 4, None, 1])


def test_exported_models_are_not_compared_with_a_gpu() -> None:
    rows = [row("torch", 0.1, 4e9), row("onnx", 0.5, 4e9), row("panoptic-fpn", 0.2, 40e9)]
    runner._relate(rows, {"fp32": 200e9, "bf16": 800e9}, on_gpu=True)
    assert [r.get("speedup") for r in rows] == [2, None, 1]
    assert [r["times_limit"] for r in rows] == pytest.approx([5, None, 1])
    assert rows[1]["format"] == "fp32"


def test_without_limit_and_reference() -> None:
    rows = [row("torch", 0.5, 4e9)]
    runner._relate(rows, {"fp32": None})
    assert rows[0]["times_limit"] is None and "speedup" not in rows[0]


def test_rate() -> None:
    assert runner._rate(outcome(0.5, macs=3e9)) == 6e9
    assert runner._rate(Outcome(error="no")) is None


def test_number_formats() -> None:
    assert runner.number_format("torch", True) == "fp32"
    assert runner.number_format("compiled-bf16", False) == "bf16"
    assert [runner.number_format("openvino", b) for b in (False, True)] == ["fp32", "bf16"]


def test_growth_is_that_of_what_objects_add() -> None:
    rows = [
        {"objects": n, "decode": 5 + n, "fusion": 1 + 2 * n**2, "memory": 10}
        for n in (0, 25, 50, 100)
    ]
    found = runner._growth(rows)
    assert found["decode"] == pytest.approx(1) and found["fusion"] == pytest.approx(2)
    assert found["memory"] is None
