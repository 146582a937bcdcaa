"""A summary made by hand."""

from typing import Any, Dict

import pytest


def _row(name: str, seconds: float, **more: Any) -> Dict[str, Any]:
    return {
        "name": name,
        "parameters": 3_400_000,
        "macs": 2e9,
        "start_seconds": 3.0,
        "p50_seconds": seconds,
        "p95_seconds": 1.5 * seconds,
        "process_seconds": 2 * seconds,
        "things": 4,
        "stages": {},
        "peak_memory_bytes": 500 * 2**20,
        "loaded_memory_bytes": 400 * 2**20,
        "times_limit": seconds / 0.04,
        **more,
    }


@pytest.fixture
def summary() -> Dict[str, Any]:
    """Of eager torch, 250 ms, OpenVINO, which is missing, and Panoptic FPN, 1 s; scaling, too."""
    stages = {"load": 0.05, "preprocess": 0.01, "backbone": 0.15, "fusion": 0.04}
    return {
        "config": "some.yaml",
        "machine": {
            "model": "Abacus",
            "cores": 2,
            "native_bf16": [],
            "threads": 1,
            "versions": {"torch": "2.0"},
        },
        "num_runs": 5,
        "sizes": [
            {
                "size": [256, 512],
                "weights": "",
                "device": "cpu",
                "parameters": 3_400_000,
                "macs": 2e9,
                "things": 0,
                "missing": {},
                "limits": {"fp32": 50e9},
                "rows": [
                    _row("torch", 0.25, stages=stages, speedup=4.0),
                    {"name": "openvino", "error": "not installed: pip install openvino"},
                    _row("panoptic-fpn", 1.0, speedup=1.0, macs=4e10),
                ],
            }
        ],
        "scaling": {
            "sizes": {
                "backend": "torch",
                "rows": [
                    {"size": [256, 512], **_row("torch", 0.25)},
                    {"size": [512, 1024], "name": "torch", "error": "too large"},
                ],
                "time_exponent": None,
                "memory_exponent": 1.25,
            },
            "objects": {
                "size": [256, 512],
                "rows": [
                    {"objects": 0, "things": 0, "decode": 0.001, "fusion": 0.01, "memory": 2**20},
                    {"objects": 9, "things": 8, "decode": 0.02, "fusion": 0.03, "memory": 2**22},
                ],
                "exponents": {"decode": 0.75, "fusion": 0.5, "memory": None},
            },
        },
    }
