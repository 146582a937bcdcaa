"""The command ``convert``: files, refusals, mistakes."""

import json
from pathlib import Path
from typing import Any, List

import pytest
import timm
import torch

from effps_solo.__main__ import main
from effps_solo.checkpoint.convert import LAYOUTS
from effps_solo.cli import convert as command
from effps_solo.utils.version import __version__

pytestmark = pytest.mark.usefixtures("fresh_loggers")


class Odd:
    """Stands for what mmcv's training leaves in a checkpoint's meta."""


@pytest.fixture(scope="module")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("timm") / "lite0.pth"
    torch.save(timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict(), path)
    return path


def words(source: Any, output: Any, *more: Any) -> List[str]:
    return ["convert", "--input", str(source), "--output", str(output), *map(str, more)]


def test_every_layout_is_offered() -> None:
    assert command.LAYOUTS == ("auto", *LAYOUTS)


def test_without_a_config(lite0: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "new" / "ours.pth"
    assert main(words(lite0, output)) == 0
    content = torch.load(output, weights_only=True)
    state = content["model"]
    assert content["effps_solo_version"] == __version__
    assert all(key.startswith("backbone.bottom_up.") for key in state)
    report = json.loads((tmp_path / "new" / "ours.json").read_text())
    assert report["layout"] == "timm" and len(report["converted"]) == len(state)
    assert sorted(p.name for p in output.parent.iterdir()) == ["ours.json", "ours.pth"]
    text = capsys.readouterr().out
    assert "MODEL.EFFICIENTNET.NAME tf_efficientnet_lite0" in text
    assert "left out, ImageNet classifier:\n  classifier.weight" in text


def test_with_a_config(
    lite0: Path, tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = tmp_path / "ours.pth"
    assert main(words(lite0, output, "--layout", "timm", "--config-file", tiny_config)) == 0
    report = json.loads((tmp_path / "ours.json").read_text())
    assert not report["conflicts"] and not report["unmatched"] and not report["reshaped"]
    assert report["left_out"]["conv_head.weight"] == "the config's model has no such weight"
    text = capsys.readouterr().out
    assert report["missing"] and all(f"\n  {key}\n" in text for key in report["missing"])
    assert not any(key.startswith("backbone.bottom_up.") for key in report["missing"])


def test_odd_objects_are_refused(
    lite0: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    source, output = tmp_path / "mmcv.pth", tmp_path / "ours.pth"
    torch.save({"meta": Odd(), "state_dict": torch.load(lite0)}, source)
    assert main(words(source, output)) == 2
    error = capsys.readouterr().err
    assert "was refused" in error and "Odd" in error and "--allow-unsafe" in error
    assert not output.exists()
    assert main(words(source, output, "--allow-unsafe")) == 0 and output.exists()


@pytest.mark.parametrize(
    "output, more, message",
    [
        ("ours.pkl", [], "must end in .pth"),
        ("lite0.pth", [], "is the input; choose another name"),
        ("ours.pth", ["--opts", "MODEL.DEVICE", "cpu"], "--opts needs --config-file"),
        (
            "ours.pth",
            ["--layout", "solo"],
            "lite0.pth': the checkpoint is not of the layout 'solo'",
        ),
    ],
)
def test_mistakes(
    lite0: Path, capsys: pytest.CaptureFixture, output: str, more: List[str], message: str
) -> None:
    assert main(words(lite0, lite0.parent / output, *more)) == 2
    assert message in capsys.readouterr().err
    assert [p.name for p in lite0.parent.iterdir()] == ["lite0.pth"]


def test_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(words(tmp_path / "none.pth", tmp_path / "ours.pth")) == 2
    assert "does not exist" in capsys.readouterr().err
