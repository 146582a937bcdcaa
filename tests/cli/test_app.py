"""The command ``app``: which models it serves, and where."""

import sys
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
import torch

from effps_solo.__main__ import main
from effps_solo.app.session import Session

page = pytest.importorskip("effps_solo.app.page")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> List[Any]:
    """(session, host, port) of every call of the server, which returns at once."""
    calls: List[Any] = []
    monkeypatch.setattr(page, "serve", lambda *args: calls.append(args))
    return calls


def test_the_model_of_the_package(served: List[Any], capsys: pytest.CaptureFixture) -> None:
    assert main(["app"]) == 0
    ((session, host, port),) = served
    assert isinstance(session, Session) and (host, port) == ("127.0.0.1", 7860)
    assert list(session.models) == ["street scenes, the model of the package"]
    assert "http://127.0.0.1:7860" in capsys.readouterr().out


def test_models_side_by_side(served: List[Any], tiny_config: Path, lively_weights: Path) -> None:
    words = [
        "--model",
        str(tiny_config),
        str(tiny_config),
        "--max-megapixels",
        "2",
        "--port",
        "8000",
    ]
    assert main(["app", *words, "--opts", "MODEL.WEIGHTS", str(lively_weights)]) == 0
    ((session, _, port),) = served
    assert list(session.models) == ["tiny.yaml", "tiny.yaml (2)"] and port == 8000
    assert session.limits.megapixels == 2 and session.limits.megabytes == 20


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_precision(served: List[Any], precision: str) -> None:
    assert main(["app", "--precision", precision]) == 0
    ((session, _, _),) = served
    (model,) = session.models.values()
    network, formats = model.predictor.model.backbone, []
    network.register_forward_hook(lambda *_: formats.append(torch.is_autocast_enabled("cpu")))
    model(np.zeros((64, 96, 3), np.uint8))
    assert formats == [precision == "bf16"]


def test_without_gradio(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.delitem(sys.modules, "effps_solo.app.page")
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["app"]) == 2
    assert "the web page needs gradio: pip install gradio" in capsys.readouterr().err


def test_a_model_that_is_not_there(served: List[Any], capsys: pytest.CaptureFixture) -> None:
    assert main(["app", "--model", "none.onnx"]) == 2
    assert "none.onnx does not exist" in capsys.readouterr().err and not served
