"""The command ``predict``: its files read back, and images and folders that cannot be used."""

import errno
import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, List

import cv2
import numpy as np
import pytest
from PIL import Image

import effps_solo.inference.predictor
import effps_solo.inference.result
from effps_solo.__main__ import main
from effps_solo.cli.predict import find_inputs, video_names

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
            ["predict", "--config-file", str(tiny_config), "--input", *map(str, inputs)]
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


def test_names_that_are_too_long_end_no_run(
    run: Demo, folder: Path, output: Path, capsys: pytest.CaptureFixture
) -> None:
    draw(folder / f"{'x' * 240}.png"), draw(folder / "z.png")
    assert run(folder) == 1
    assert [image["file_name"] for image in read_json(output)["images"]] == ["z.png"]
    assert "skipped: cannot write" in capsys.readouterr().out


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
    assert run(path, words=["--no-labels"]) == 0
    overlay = np.asarray(Image.open(output / "a_overlay.png")).astype(float)
    source = np.asarray(Image.open(path)).astype(float)
    assert overlay.shape == source.shape
    assert (overlay != source).any(axis=-1).mean() > 0.5
    difference = source - source.mean()
    assert (difference * (overlay - overlay.mean())).mean() > 0  # the image shines through


def test_labels_and_legend(run: Demo, output: Path, folder: Path) -> None:
    path = draw(folder / "a.png", size=(200, 300))
    assert run(path, words=["--no-labels"]) == 0
    plain = np.asarray(Image.open(output / "a_overlay.png"))
    assert run(path) == 0
    labelled = np.asarray(Image.open(output / "a_overlay.png"))
    assert plain.shape == (200, 300, 3) and labelled.shape[0] > 200 and labelled.shape[1] == 300
    assert (labelled[:200] != plain).any()


def test_without_anything(output: Path, capfd: pytest.CaptureFixture) -> None:
    """The model and the picture that come with the package."""
    assert main(["predict", "--output", str(output)]) == 0
    assert names(output) == ["panoptic.json", "sample_overlay.png", "sample_panoptic.png"]
    printed = capfd.readouterr()
    assert "9 things, 7 stuff regions" in printed.out and "Warning" not in printed.err


def test_patterns(run: Demo, output: Path, folder: Path) -> None:
    draw(folder / "b.png"), draw(folder / "a.png"), draw(folder / "c.jpg"), draw(folder / "[d].png")
    assert run(folder / "*.jpg", folder / "[ab].png", folder / "[d].png") == 0
    done = [image["file_name"] for image in read_json(output)["images"]]
    assert done == ["c.jpg", "a.png", "b.png", "[d].png"]
    assert run(folder / "x*.png") == 1


def test_resume(run: Demo, output: Path, folder: Path, capfd: pytest.CaptureFixture) -> None:
    draw(folder / "a.png"), draw(folder / "b.png", seed=1)
    assert run(folder) == 0
    first = read_json(output)
    (output / "b_panoptic.png").unlink()
    draw(folder / "c.png", seed=2)
    before = (output / "a_overlay.png").stat().st_mtime_ns
    assert run(folder, words=["--resume"]) == 0
    assert "1 of 3 images are done already" in capfd.readouterr().out
    assert (output / "a_overlay.png").stat().st_mtime_ns == before
    content = read_json(output)
    assert [image["file_name"] for image in content["images"]] == ["a.png", "b.png", "c.png"]
    assert [a["segments_info"] for a in content["annotations"][:2]] == [
        a["segments_info"] for a in first["annotations"]
    ]
    assert len({image["id"] for image in content["images"]}) == 3
    assert run(folder, words=["--resume"]) == 0 and read_json(output) == content


def test_an_earlier_run_is_not_replaced_in_silence(
    run: Demo, output: Path, folder: Path, capfd: pytest.CaptureFixture
) -> None:
    first, second = draw(folder / "a.png"), draw(folder / "b.png")
    assert run(first) == 0
    assert "written anew" not in "".join(capfd.readouterr())
    assert run(second, words=["--resume"]) == 0
    assert "written anew" not in "".join(capfd.readouterr())
    assert len(read_json(output)["images"]) == 2
    assert run(second) == 0
    assert f"{output / 'panoptic.json'} is written anew" in "".join(capfd.readouterr())
    assert [image["file_name"] for image in read_json(output)["images"]] == ["b.png"]


def test_videos_of_the_same_name(run: Demo, output: Path, folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
        fourcc = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(folder / name / "clip.mp4"), fourcc, 5, (90, 60))
        for _ in range(2):
            writer.write(np.zeros((60, 90, 3), dtype=np.uint8))
        writer.release()
    assert run(folder / "a", folder / "b", words=["--save-json"]) == 0
    expected = ["clip_1_overlay.mp4", "clip_1_segments.jsonl", "clip_overlay.mp4"]
    assert names(output) == [*expected, "clip_segments.jsonl", "videos.json"]
    before = (output / "clip_overlay.mp4").stat().st_mtime_ns
    (output / "clip_1_overlay.mp4").unlink()
    assert run(folder / "a", folder / "b", words=["--resume"]) == 0
    assert (output / "clip_1_overlay.mp4").is_file()
    assert (output / "clip_overlay.mp4").stat().st_mtime_ns == before


def test_names_of_videos_stay_theirs() -> None:
    """One that is finished keeps its name, whatever is predicted before it."""
    first, second = Path("a/clip.mp4"), Path("b/clip.mp4")
    finished = {os.path.abspath(second): "clip"}
    names_of = video_names([first, Path("a/photo.png"), second], finished)
    assert names_of == {first: "clip_1", second: "clip"}


def test_equal_stems(run: Demo, output: Path, folder: Path) -> None:
    other = folder / "other"
    other.mkdir()
    paths = [draw(folder / "a.png"), draw(folder / "a_1.png"), draw(other / "a.png", seed=1)]
    assert run(paths[0], paths[2], paths[1]) == 0
    files = [annotation["file_name"] for annotation in read_json(output)["annotations"]]
    assert len(set(files)) == 3 and set(files) <= set(names(output))
    assert len(names(output)) == 7


def test_each_image_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(folder / "b.png"), draw(folder / "a.png")
    monkeypatch.chdir(folder)
    found = find_inputs([str(folder / "b.png"), str(folder), "b.png", "*.png"])
    assert [os.path.abspath(path) for path in found] == [
        str(folder / n) for n in ("b.png", "a.png")
    ]


def test_pseudo_labels_are_a_data_set_as_they_are(run: Demo, output: Path, folder: Path) -> None:
    """Of images with one name in several folders, too."""
    for name in ("x", "y"):
        (folder / name).mkdir()
        draw(folder / name / "a.png", seed=ord(name))
    assert run(folder / "x", folder / "y", words=["--unsure-void", "0.3"]) == 0
    assert "a_1_overlay.png" in names(output)
    description = {"name": "pseudo", "splits": ["train"], "images": str(folder)}
    paths = {"panoptic_png": str(output), "panoptic_json": str(output / "panoptic.json")}
    (file := output.parent / "pseudo.json").write_text(json.dumps({**description, **paths}))
    assert main(["check-dataset", "--description", str(file), "--workers", "1"]) == 0


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


def test_the_precision(output: Path, capfd: pytest.CaptureFixture) -> None:
    words = ["--model", "none.onnx", "--precision", "bf16", "--output", str(output)]
    assert main(["predict", *words]) == 2
    message = "none.onnx can run in bf16 with the backend openvino alone"
    assert message in capfd.readouterr().err


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
    predict, calls = effps_solo.inference.predictor.Predictor.__call__, []

    def interrupted(self: Any, *args: Any) -> Dict[str, Any]:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(self, *args)

    monkeypatch.setattr(effps_solo.inference.predictor.Predictor, "__call__", interrupted)
    assert run(folder) == 130
    content = read_json(output)
    assert [image["file_name"] for image in content["images"]] == ["a.png", "b.png"]
    assert len(content["annotations"]) == 2
    assert "stopped after 2 of 3 images" in capfd.readouterr().out


def test_a_full_disk_keeps_what_was_done(
    run: Demo, output: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    for name in "abc":
        draw(folder / f"{name}.png")
    write = effps_solo.inference.result.write_atomically

    def full_at_c(path: Path, data: bytes) -> None:
        if path.name.startswith("c_"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data)

    monkeypatch.setattr(effps_solo.inference.result, "write_atomically", full_at_c)
    assert run(folder) != 0
    assert {f"{x}_{kind}.png" for x in "ab" for kind in ("overlay", "panoptic")} < set(
        names(output)
    )
    assert [image["file_name"] for image in read_json(output)["images"]] == ["a.png", "b.png"]
    said, errors = capfd.readouterr()
    assert "c_overlay.png: No space left on device" in said + errors
    assert "Traceback" not in said + errors
    monkeypatch.setattr(effps_solo.inference.result, "write_atomically", write)
    assert run(folder, words=["--resume"]) == 0
    assert len(read_json(output)["images"]) == 3


def test_no_weights(run: Demo, folder: Path, capfd: pytest.CaptureFixture) -> None:
    draw(folder / "a.png")
    assert run(folder, weights="") == 2
    assert "MODEL.WEIGHTS is ''" in capfd.readouterr().err


def test_every_kind_of_image_in_one_folder(
    run: Demo, output: Path, folder: Path, capfd: pytest.CaptureFixture
) -> None:
    """What can be read is done, whatever stands beside it in the folder."""
    picture = Image.open(draw(folder / "a_rgb.png", size=(60, 90)))
    picture.convert("L").save(folder / "b_grey.png")
    picture.convert("RGBA").save(folder / "c_alpha.png")
    picture.convert("CMYK").save(folder / "d_cmyk.jpg")
    wide = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(wide).save(folder / "e_16bit.png")
    picture.convert("P").save(folder / "e_palette.png")
    picture.save(folder / "f_animated.webp", save_all=True, append_images=[picture.rotate(90)])
    content = (folder / "a_rgb.png").read_bytes()
    (folder / "g_half.png").write_bytes(content[: len(content) // 2])
    (folder / "h_empty.png").touch()
    (folder / "i_text.jpg").write_text("no image")
    Image.new("RGB", (1, 1)).save(folder / "j_pixel.png")
    Image.new("RGB", (3, 300)).save(folder / "k_thin.png")
    Image.new("L", (1000, 110)).save(folder / "l_large.png")
    Image.new("L", (20000, 20000)).save(folder / "m_bomb.png")
    draw(folder / "z_last.png", size=(60, 90))
    assert run(folder, folder / "gone.png", words=["--max-megapixels", "0.1"]) == 1
    good = [
        "a_rgb",
        "b_grey",
        "c_alpha",
        "d_cmyk",
        "e_16bit",
        "e_palette",
        "f_animated",
        "j_pixel",
        "k_thin",
    ]
    expected = [
        f"{stem}_{kind}.png" for stem in [*good, "z_last"] for kind in ("overlay", "panoptic")
    ]
    assert names(output) == sorted([*expected, "panoptic.json"])
    said, errors = capfd.readouterr()
    for name in (
        "gone.png",
        "g_half.png",
        "h_empty.png",
        "i_text.jpg",
        "l_large.png",
        "m_bomb.png",
    ):
        assert f"skipped: {folder / name}" in said
    assert "1000x110 pixels" in said and "6 of 16 images failed" in said
    assert "Traceback" not in said + errors


LABELS = {"labelme": "labelme/a.json", "coco": "instances.json", "cvat": "annotations.xml"}


@pytest.mark.parametrize("name", LABELS)
def test_labels(run: Demo, output: Path, folder: Path, name: str) -> None:
    draw(folder / "a.png")
    assert run(folder, words=["--labels", name]) == 0
    exact = (output / LABELS[name]).read_text()
    (annotation,) = read_json(output)["annotations"]
    assert all(CATEGORY_OF_ID[s["category_id"]][0] in exact for s in annotation["segments_info"])
    assert run(folder, words=["--labels", name, "--simplify", "1"]) == 0
    assert len((output / LABELS[name]).read_text()) < len(exact)


def test_labels_after_all_images_are_done(run: Demo, output: Path, folder: Path) -> None:
    draw(folder / "a.png"), draw(folder / "b.png", seed=1)
    assert run(folder / "a.png") == 0
    assert run(folder, words=["--resume", "--labels", "coco"]) == 0
    content = json.loads((output / "instances.json").read_text())
    (output / "instances.json").unlink()
    assert len(content["images"]) == 2 and {a["image_id"] for a in content["annotations"]} == {1, 2}
    assert run(folder, words=["--resume", "--labels", "coco"]) == 0
    assert json.loads((output / "instances.json").read_text()) == content


def test_labels_of_what_was_done_before_ctrl_c(
    run: Demo, output: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(folder / "a.png"), draw(folder / "b.png")
    predict, calls = effps_solo.inference.predictor.Predictor.__call__, []

    def interrupted(self: Any, *args: Any) -> Dict[str, Any]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict(self, *args)

    monkeypatch.setattr(effps_solo.inference.predictor.Predictor, "__call__", interrupted)
    assert run(folder, words=["--labels", "coco"]) == 130
    assert len(json.loads((output / "instances.json").read_text())["images"]) == 1


def test_unsure_segments_are_void(run: Demo, output: Path, folder: Path) -> None:
    draw(folder / "a.png")
    assert run(folder, words=["--labels", "coco"]) == 0
    (all_of_them,) = read_json(output)["annotations"]
    scores = sorted(s["score"] for s in all_of_them["segments_info"])
    threshold = (scores[0] + scores[-1]) / 2
    assert run(folder, words=["--labels", "coco", "--unsure-void", str(threshold)]) == 0
    (annotation,) = read_json(output)["annotations"]
    segments = annotation["segments_info"]
    assert 0 < len(segments) < len(scores) and all(s["score"] >= threshold for s in segments)
    ids = read_ids(output / annotation["file_name"])
    check_segments(ids, segments)
    assert (ids == 0).any()
    labels = json.loads((output / "instances.json").read_text())["annotations"]
    assert sorted(a["area"] for a in labels) == sorted(s["area"] for s in segments)


@pytest.mark.parametrize(
    "words",
    [["--labels", "yolo"], ["--simplify", "-1"], ["--simplify", "nan"], ["--unsure-void", "2"]],
)
def test_wrong_options_of_labels(run: Demo, folder: Path, words: List[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        run(folder, words=words)
    assert exit_info.value.code == 2


def test_simplified_polygons_of_what(run: Demo, folder: Path, capfd: Any) -> None:
    draw(folder / "a.png")
    assert run(folder, words=["--simplify", "1"]) == 2
    assert "--simplify is for the polygons of --labels" in capfd.readouterr().err
