"""The command ``analyze`` on a tiny network."""

import json
from pathlib import Path

import pytest

from effps_solo.__main__ import main

pytestmark = pytest.mark.usefixtures("fresh_loggers")


def test_table_and_json(tiny_config: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["analyze", "--config-file", str(tiny_config), "--image-size", "64", "96"]
    words += ["--threads", "1", "--runs", "1"]
    opts = ["--opts", "MODEL.WEIGHTS", ""]
    assert main([*words, *opts]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:3]] == ["module", "parameters M"]
    assert lines[-1].startswith("| sum ") and "100.0" in lines[-1]

    assert main([*words, "--depth", "2", "--json", *opts]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["size"] == [64, 96] and found["threads"] == 1
    assert "backbone.bottom_up" in {row["module"] for row in found["modules"]}


def test_wrong_depth(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["analyze", "--config-file", "x.yaml", "--depth", "0"])
    assert "--depth" in capsys.readouterr().err
