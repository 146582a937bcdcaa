"""The command ``demo``: its files read back, and images and folders that cannot be used."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
from PIL import Image

import effps_solo.predictor
from effps_solo.__main__ import main
from effps_solo.cli import demo

pytestmark = pytest.mark.usefixtures("fresh_loggers")

CATEGORY_OF_ID = {21: ("road", 0), 7: ("person", 1), 90: ("sky", 0), 3: ("car", 1)}
Demo = Callable[..., int]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "some" / "predictions"


@pytest.fixture
def run(tiny_config: Path, lively_weights: Path, output: Path) -> Demo:
    """Run the command; returns the exit status."""

    def start(
        *inputs: Path, words: Any = (), weights: str = str(lively_weights), opts: Any = ()
    ) -> int:
        return main(
            ["demo", "--config-file", str(tiny_config), "--input", *map(str, inputs)]
            + ["--output", str(output), *words, "--opts", "MODEL.WEIGHTS", weights, *opts]
            + ["MODEL.PANOPTIC_FUSION.SCORE_THRESH", "0.2"]
            * ("--confidence-threshold" not in words)
        )

    return start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    return path


def draw(path: Path, mode: str = "RGB", size: Any = (60, 90), seed: int = 0) -> Path:
    """An image of noise; returns its path."""
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 4), dtype=np.uint8)
    if mode == "I;16":
        Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(noise, "RGBA").convert(mode).save(path)
    return path


def read_json(output: Path) -> Dict[str, Any]:
    content: Dict[str, Any] = json.loads((output / "panoptic.json").read_text())
    return content


def read_ids(path: Path) -> np.ndarray:
    rgb = np.asarray(Image.open(path)).astype(np.int64)
    return rgb @ np.array([1, 256, 65536])


def names(output: Path) -> List[str]:
    return sorted(path.name for path in output.iterdir())


def test_outputs_read_back(run: Demo, output: Path, folder: Path) -> None:
    draw(folder / "b.png", size=(60, 90)), draw(folder / "a.jpg", size=(64, 50))
    (folder / "notes.txt").write_text("no image")
    assert run(folder) == 0
    expected = ["a_overlay.png", "a_panoptic.png", "b_overlay.png", "b_panoptic.png"]
    assert names(output) == [*expected, "panoptic.json"]
    content = read_json(output)
    categories = {c["id"]: (c["name"], c["isthing"]) for c in content["categories"]}
    assert categories == CATEGORY_OF_ID
    sizes = {i["file_name"]: (i["height"], i["width"]) for i in content["images"]}
    assert sizes == {"a.jpg": (64, 50), "b.png": (60, 90)}
    images = {image["id"]: image for image in content["images"]}
    segments = [s for a in content["annotations"] for s in a["segments_info"]]
    assert {s["isthing"] for s in segments} == {0, 1}  # the test sees both kinds
    for annotation in content["annotations"]:
        image = images[annotation["image_id"]]
        ids = read_ids(output / annotation["file_name"])
        assert ids.shape == (image["height"], image["width"])
        check_segments(ids, annotation["segments_info"])


def test_a_model_without_a_semantic_head(
    run: Demo, output: Path, folder: Path, capfd: pytest.CaptureFixture
) -> None:
    """Things alone, pasted; all the rest of an image is void."""
    draw(folder / "a.png"), draw(folder / "b.png", size=(64, 50), seed=1)
    without = ["MODEL.SEM_SEG_HEAD.NAME", "", "MODEL.OUTPUTS", "['instances']"]
    counts = []
    for threshold in ("0.1", "0.8"):
        words = ["--confidence-threshold", threshold]
        assert run(folder, words=words, opts=without) == 0
        assert "MODEL.SEM_SEG_HEAD.NAME is ''" in capfd.readouterr().out
        segments = []
        for annotation in read_json(output)["annotations"]:
            ids = read_ids(output / annotation["file_name"])
            check_segments(ids, annotation["segments_info"])
            segments += annotation["segments_info"]
        assert {s["isthing"] for s in segments} == {1}
        assert all(s["score"] >= float(threshold) for s in segments)
        counts.append(len(segments))
    assert counts[0] > counts[1] > 0
    expected = ["a_overlay.png", "a_panoptic.png", "b_overlay.png", "b_panoptic.png"]
    assert names(output) == [*expected, "panoptic.json"]


def check_segments(ids: np.ndarray, segments: List[Dict[str, Any]]) -> None:
    """PNG and JSON hold the same segments, with true areas, boxes and categories."""
    assert set(np.unique(ids)) - {0} == {s["id"] for s in segments}
    for segment in segments:
        y, x = np.nonzero(ids == segment["id"])
        assert segment["area"] == len(x)
        x0, y0, width, height = segment["bbox"]
        assert (x0, y0, x0 + width - 1, y0 + height - 1) == (x.min(), y.min(), x.max(), y.max())
        assert CATEGORY_OF_ID[segment["category_id"]][1] == segment["isthing"]
        assert segment["iscrowd"] == 0 and 0 <= segment["score"] <= 1


def test_the_overlay_is_the_image_with_colour(run: Demo, output: Path, folder: Path) -> None:
    path = draw(folder / "a.png", size=(600, 1100))
    assert run(path) == 0
    overlay = np.asarray(Image.open(output / "a_overlay.png")).astype(float)
    source = np.asarray(Image.open(path)).astype(float)
    assert overlay.shape == source.shape
    assert (overlay != source).any(axis=-1).mean() > 0.5
    difference = source - source.mean()
    assert (difference * (overlay - overlay.mean())).mean() > 0  # the image shines through


def test_the_overlay_of_a_bgr_model_has_the_colours_of_the_image(tmp_path: Path) -> None:
    class Predictor:
        image_format = "BGR"

        def panoptic(self, image: np.ndarray) -> Any:
            import torch

            assert image[0, 0].tolist() == [0, 0, 250]
            return torch.zeros(image.shape[:2], dtype=torch.int32), []

    class Writer:
        def add(self, path: Path, image: np.ndarray, *rest: Any) -> None:
            assert image[0, 0].tolist() == [250, 0, 0]

    path = tmp_path / "red.png"
    Image.new("RGB", (8, 8), (250, 0, 0)).save(path)
    assert demo._process(path, Predictor(), Writer())  # type: ignore[arg-type]


def test_kinds_of_images_and_damaged_ones(
    run: Demo, output: Path, folder: Path, capfd: pytest.CaptureFixture
) -> None:
    draw(folder / "grey.png", "L"), draw(folder / "rgba.png", "RGBA")
    draw(folder / "wide.png", "I;16"), draw(folder / "palette.png", "P")
    (folder / "corrupt.png").write_bytes((folder / "rgba.png").read_bytes()[:900])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "zz.jpg").write_bytes(b"no image at all")
    assert run(folder, folder / "gone.png") == 1
    done = {image["file_name"] for image in read_json(output)["images"]}
    assert done == {"grey.png", "rgba.png", "wide.png", "palette.png"}
    printed = capfd.readouterr()
    summary = [line for line in printed.out.splitlines() if "images failed" in line]
    assert len(summary) == 1 and "4 of 8" in summary[0]
    for name in ("corrupt.png", "empty.jpg", "zz.jpg", "gone.png"):
        assert str(folder / name) in summary[0]
    assert "Traceback" not in printed.out + printed.err


def test_equal_stems(run: Demo, output: Path, folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    paths = [draw(folder / "a.png"), draw(folder / "a_1.png"), draw(other / "a.png", seed=1)]
    assert run(paths[0], paths[2], paths[1]) == 0
    files = [annotation["file_name"] for annotation in read_json(output)["annotations"]]
    assert len(set(files)) == 3 and set(files) <= set(names(output))
    assert len(names(output)) == 7


def test_no_image(run: Demo, output: Path, folder: Path, capfd: pytest.CaptureFixture) -> None:
    assert run(folder) == 1
    assert f"no image found in {folder}" in capfd.readouterr().out
    assert not output.exists()


def test_the_threshold_lowers_the_number_of_things(run: Demo, output: Path, folder: Path) -> None:
    for seed in range(3):
        draw(folder / f"{seed}.png", seed=seed)
    counts = []
    for threshold in ("0.1", "0.3", "0.6", "1.0"):
        assert run(folder, words=["--confidence-threshold", threshold]) == 0
        annotations = read_json(output)["annotations"]
        things = [s for a in annotations for s in a["segments_info"] if s["isthing"]]
        assert all(s["score"] >= float(threshold) for s in things)
        counts.append(len(things))
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1] == 0, counts


@pytest.mark.parametrize("threshold", ["50", "-0.1", "nan", "high"])
def test_a_threshold_that_is_no_probability(
    run: Demo, folder: Path, capfd: pytest.CaptureFixture, threshold: str
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        run(folder, words=[f"--confidence-threshold={threshold}"])
    assert exit_info.value.code == 2
    assert "--confidence-threshold" in capfd.readouterr().err


def test_output_that_is_a_file(
    run: Demo, output: Path, folder: Path, capfd: pytest.CaptureFixture
) -> None:
    draw(folder / "a.png")
    output.parent.mkdir()
    output.write_text("kept")
    assert run(folder) == 2
    error = capfd.readouterr().err
    assert f"--output '{output}'" in error and "Traceback" not in error
    assert output.read_text() == "kept"


def test_output_below_a_file(run: Demo, output: Path, folder: Path, capfd: Any) -> None:
    draw(folder / "a.png")
    output.parent.write_text("")
    assert run(folder) == 2
    assert f"--output '{output}'" in capfd.readouterr().err


def test_output_without_permission(
    run: Demo, output: Path, folder: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")  # root may write everywhere

    draw(folder / "a.png")
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    assert run(folder) == 2
    assert f"--output '{output}'" in (error := capfd.readouterr().err)
    assert "Permission denied" in error


def test_ctrl_c_keeps_what_was_done(
    run: Demo, output: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    for name in "abc":
        draw(folder / f"{name}.png")
    predict, calls = effps_solo.predictor.Predictor.__call__, []

    def interrupted(self: Any, image: np.ndarray) -> Dict[str, Any]:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(self, image)

    monkeypatch.setattr(effps_solo.predictor.Predictor, "__call__", interrupted)
    assert run(folder) == 130
    content = read_json(output)
    assert [image["file_name"] for image in content["images"]] == ["a.png", "b.png"]
    assert len(content["annotations"]) == 2
    assert "stopped after 2 of 3 images" in capfd.readouterr().out


def test_no_weights(run: Demo, folder: Path, capfd: pytest.CaptureFixture) -> None:
    draw(folder / "a.png")
    assert run(folder, weights="") == 2
    assert "MODEL.WEIGHTS is empty" in capfd.readouterr().err
