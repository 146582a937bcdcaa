"""Tables and files of a summary made by hand."""

import copy
import json
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
from PIL import Image

from effps_solo.benchmark.report import TITLES, markdown, write_report
from effps_solo.benchmark.runner import BACKENDS, BASELINES


def cells(text: str, first: str) -> List[str]:
    """Of the first row of a table that begins with ``first``."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_backend_has_a_title() -> None:
    assert set(TITLES) == {*BACKENDS, *BASELINES}


def test_the_table_of_backends(summary: Dict[str, Any]) -> None:
    text = markdown(summary)
    head = cells(text, "backend")
    row = dict(zip(head, cells(text, "torch")))
    assert (row["p50 ms"], row["p95 ms"], row["CPU ms"]) == ("250", "375", "500")
    assert (row["images/s"], row["memory MiB"], row["GMAC"]) == ("4.00", "500", "2.0")
    # 2 GMAC at 50 GMAC/s are 40 ms.
    assert (row["x limit"], row["faster"]) == ("6.2", "4.00")
    assert "fp32 50 GMAC/s, so 40 ms" in text and "weights: random" in text
    assert cells(text, "OpenVINO")[1:3] == ["-", ""]
    assert "OpenVINO: not installed: pip install openvino" in text
    assert "found nothing" in text and "untrained" in text


def test_the_table_of_stages(summary: Dict[str, Any]) -> None:
    text = markdown(summary)
    assert cells(text, "backbone") == ["backbone", "150.0", "60.0"]
    assert cells(text, "load") == ["load", "50.0", "20.0"]
    assert "decode" not in [line.split("|")[1].strip() for line in text.splitlines() if "|" in line]


def test_scaling(summary: Dict[str, Any]) -> None:
    text = markdown(summary)
    assert cells(text, "256x512") == ["256x512", "2", "250", "100", "500"]
    assert cells(text, "512x1024")[1] == "too large"
    assert "memory that a run adds as its power 1.25" in text and "as its power -" in text
    assert cells(text, "9") == ["9", "8", "20.0", "30.0", "3"]


def test_without_baselines_stages_and_scaling(summary: Dict[str, Any]) -> None:
    measured = summary["sizes"][0]
    measured.update(rows=measured["rows"][1:2], things=3, limits={"fp32": None})
    del summary["scaling"]
    text = markdown(summary)
    assert "faster" not in text and "stage" not in text and "Scaling" not in text
    assert "not measured" in text and "found nothing" not in text


def test_files(summary: Dict[str, Any], tmp_path: Path) -> None:
    before = copy.deepcopy(summary)
    nothing = {**summary["sizes"][0], "size": [64, 96], "rows": summary["sizes"][0]["rows"][1:2]}
    for sizes in (summary["sizes"], [*summary["sizes"], nothing]):
        paths = write_report({**summary, "sizes": sizes}, tmp_path / "new" / "folder")
        assert [path.name for path in paths] == ["benchmark.md", "benchmark.json", "benchmark.png"]
        assert paths[0].read_text() == markdown({**summary, "sizes": sizes})
        assert json.loads(paths[1].read_text()) == {**before, "sizes": sizes}
        with Image.open(paths[2]) as picture:
            assert np.asarray(picture.convert("L")).std() > 10
