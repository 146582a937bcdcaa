"""The command ``benchmark`` with real backends on a tiny network."""

import json
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
from PIL import Image

from effps_solo.__main__ import main
from effps_solo.benchmark import preparation, runner
from effps_solo.benchmark.images import synthetic_image
from effps_solo.cli import benchmark
from tests.benchmark.peer_files import write_network

Command = Callable[..., int]
Report = Callable[[], Dict[str, Any]]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "report"


@pytest.fixture
def command(tiny_config: Path, output: Path) -> Command:
    """The command with further words; returns the exit status."""
    words = ["--config-file", str(tiny_config), "--threads", "1", "--runs", "2"]
    words += ["--output", str(output)]
    return lambda *more: main(["benchmark", *words, *more, "--opts", "MODEL.WEIGHTS", ""])


@pytest.fixture
def report(output: Path) -> Report:
    return lambda: json.loads((output / "benchmark.json").read_text())


def test_the_choices_are_the_backends() -> None:
    assert benchmark.BACKENDS == runner.BACKENDS
    assert set(benchmark.DEFAULT_BACKENDS) < set(benchmark.BACKENDS)


@pytest.mark.slow
def test_eager_torch(command: Command, report: Report, capsys: pytest.CaptureFixture) -> None:
    assert command("--backend", "torch", "--image-size", "64", "96") == 0
    output = capsys.readouterr().out
    assert "## 64x96" in output and "weights: random" in output and "semantic head" in output
    (measured,) = report()["sizes"]
    (row,) = measured["rows"]
    assert measured["size"] == [64, 96] and measured["limits"]["fp32"] > 1e8
    inside = [s for name, s in row["stages"].items() if name not in ("load", "draw")]
    assert sum(inside) == pytest.approx(row["p50_seconds"], rel=0.3)
    assert row["p50_seconds"] <= row["p95_seconds"] and row["times_limit"] > 0
    assert row["peak_memory_bytes"] > 100 * 2**20


@pytest.mark.slow
def test_a_model_that_cannot_be_exported_is_a_row(
    tiny_config: Path, capsys: pytest.CaptureFixture
) -> None:
    words = ["--config-file", str(tiny_config), "--threads", "1", "--runs", "1"]
    words += ["--backend", "torch", "onnx", "--image-size", "64", "96"]
    words += ["--opts", "MODEL.INSTANCE_HEAD.NAME", "MaskRCNNInstanceHead", "MODEL.WEIGHTS", ""]
    assert main(["benchmark", *words]) == 0
    output = capsys.readouterr().out
    assert "ONNX Runtime: cannot be exported: MODEL.INSTANCE_HEAD.NAME is Mask" in output


def test_packages_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation.importlib.util, "find_spec", lambda name: None)
    assert preparation._lack(".xml") == "not installed: pip install onnx onnxscript openvino"
    monkeypatch.setattr(preparation.importlib.util, "find_spec", lambda name: name)
    assert preparation._lack(".onnx") == ""


def test_peers_that_cannot_be(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    peer = tmp_path / "peer.onnx"
    assert command("--peer", str(peer)) == 2
    assert f"--peer {peer} is no ONNX file that is there" in capsys.readouterr().err
    peer.write_bytes(b"")
    assert command("--peer", str(peer), "--backend", "torch") == 2
    assert "--peer needs onnx or openvino" in capsys.readouterr().err


@pytest.mark.slow
def test_every_backend(
    command: Command, report: Report, output: Path, capsys: pytest.CaptureFixture
) -> None:
    """But the compiled ones, which take minutes; tests/inference/test_preparation.py compiles a network."""
    backends = [name for name in runner.BACKENDS if not name.startswith("compiled")]
    peers = [
        write_network(output.parent / "other.onnx", (1, 3, 64, 96)),
        write_network(output.parent / "large.onnx", (1, 3, 640, 640)),
    ]
    words = ["--image-size", "64", "96", "--compare", "--peer", *map(str, peers)]
    assert command("--backend", *backends, *words) == 0
    rows = {row["name"]: row for row in report()["sizes"][0]["rows"]}
    for runtime in ("onnx", "openvino"):
        other, large = (rows.pop(f"peer-{runtime}-{number}") for number in (0, 1))
        assert other["p50_seconds"] > 0 and other["macs"] is other["times_limit"] is None
        assert "--image-size 640 640" in large["error"]
    text = capsys.readouterr().out
    assert "| other (network), OpenVINO " in text and "- large (network), ONNX Runtime: " in text
    assert set(rows) == {*backends, *runner.BASELINES}
    for name, row in rows.items():
        assert "error" not in row, f"{name}: {row}"
        assert row["macs"] > 0 and row["speedup"] > 0
    assert rows["panoptic-fpn"]["speedup"] == 1
    assert rows["panoptic-fpn"]["parameters"] > 40e6 > rows["torch"]["parameters"]
    # Without torch and Detectron2 in the process.
    assert rows["onnx"]["peak_memory_bytes"] < rows["torch"]["peak_memory_bytes"]
    assert (output / "64x96" / "model.onnx").is_file()


@pytest.mark.slow
def test_scaling(command: Command, report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SCALING_SIZES", ((64, 96), (128, 192)))
    monkeypatch.setattr(runner, "OBJECT_COUNTS", (0, 10, 40))
    assert command("--backend", "torch", "--image-size", "64", "96", "--scaling") == 0
    found = report()
    sizes, objects = found["scaling"]["sizes"], found["scaling"]["objects"]
    assert [row["size"] for row in sizes["rows"]] == [[64, 96], [128, 192]]
    assert sizes["rows"][1]["macs"] > sizes["rows"][0]["macs"]
    assert [row["objects"] for row in objects["rows"]] == [0, 10, 40]
    assert objects["rows"][0]["things"] == 0 < objects["rows"][2]["things"]


@pytest.mark.slow
def test_an_image_that_needs_no_resizing(command: Command, report: Report, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(synthetic_image((64, 80), 0)).save(path)
    assert command("--backend", "torch", "--input", str(path)) == 0
    assert [measured["size"] for measured in report()["sizes"]] == [[64, 80]]


@pytest.mark.slow
def test_given_images_in_two_sizes(command: Command, report: Report, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, size in enumerate([(64, 80), (48, 48)]):
        Image.fromarray(synthetic_image(size, number)).save(folder / f"{number}.jpg")
    assert command("--backend", "bf16", "--input", str(folder)) == 0
    assert [measured["size"] for measured in report()["sizes"]] == [[64, 80]]  # the first one's
    words = ["--input", str(folder), "--image-size", "48", "48", "32", "64"]
    assert command("--backend", "bf16", *words) == 0
    assert [measured["size"] for measured in report()["sizes"]] == [[48, 48], [32, 64]]
    assert not any("error" in measured["rows"][0] for measured in report()["sizes"])


@pytest.mark.parametrize(
    "words, message",
    [
        (["--image-size", "64", "96", "128"], "--image-size 64 96 128"),
        (["--input", "nowhere/at_all.png"], "nowhere/at_all.png does not exist"),
        (["--config-file", "nowhere.yaml"], "--config-file nowhere.yaml does not exist"),
        (["--output", "/dev/null/x"], "--output '/dev/null/x'"),
    ],
)
def test_mistakes(
    command: Command, capsys: pytest.CaptureFixture, words: list, message: str
) -> None:
    assert command(*words) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_images(
    command: Command, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert command("--input", str(tmp_path / "empty")) == 2
    assert "--input: no image found in" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, message",
    [
        (["--runs", "0"], "--runs"),
        (["--backend", "tensorrt"], "--backend"),
        (["--image-size", "-1", "4"], "--image-size"),
    ],
)
def test_wrong_values(
    command: Command, capsys: pytest.CaptureFixture, words: list, message: str
) -> None:
    with pytest.raises(SystemExit):
        command(*words)
    assert message in capsys.readouterr().err


def test_a_wrong_key(tiny_config: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["--config-file", str(tiny_config), "--image-size", "64", "96"]
    assert main(["benchmark", *words, "--opts", "MODEL.WEIGHT", ""]) == 2
    assert "MODEL.WEIGHT" in capsys.readouterr().err
