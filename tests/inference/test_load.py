"""One call from whatever holds an image to its result."""

import importlib.util
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import pytest
import torch
from PIL import Image

from effps_solo import load
from effps_solo.config import load_config
from effps_solo.inference.load import SAMPLE_IMAGE, SHIPPED_MODEL, PanopticModel
from effps_solo.inference.predictor import Predictor
from effps_solo.structures.classes import PanopticClass
from effps_solo.utils.errors import ConfigError, UserError
from effps_solo.utils.image_io import ImageError

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def weights(lively_weights: Path) -> Path:
    """As a training leaves them in its OUTPUT_DIR."""
    folder = lively_weights.parent / "run"
    folder.mkdir()
    return lively_weights.rename(folder / "model_final.pth")


class Halves:
    """A car above, 0.3 sure, road below; remembers the image and the threshold."""

    confidence_threshold = 0.5
    classes = (
        PanopticClass("car", True, 26, (0, 0, 9)),
        PanopticClass("road", False, 7, (9, 0, 0)),
    )

    def __init__(self, image_format: str = "RGB") -> None:
        self.image_format = image_format

    def panoptic(
        self, image: np.ndarray, confidence_threshold: Optional[float] = None
    ) -> Tuple[np.ndarray, List[Dict[str, Any]]]:
        self.image, self.threshold = image, confidence_threshold
        ids = np.full(image.shape[:2], 2)
        ids[: len(ids) // 2] = 1
        car = {"id": 1, "category_id": 0, "isthing": True, "score": 0.3}
        return ids, [car, {"id": 2, "category_id": 1, "isthing": False, "score": 0.1}]


def test_the_order_of_the_channels() -> None:
    predictor = Halves("BGR")
    result = PanopticModel(predictor)(NOISE)
    assert (predictor.image == NOISE[..., ::-1]).all() and (result.image == NOISE).all()


def test_an_image_that_is_too_large() -> None:
    model = PanopticModel(Halves(), max_megapixels=0.0024)
    assert model(NOISE).panoptic.shape == (40, 60)
    with pytest.raises(ImageError, match="60x41 pixels, .* more than 0.0024 million .*shrink it"):
        model(np.zeros((41, 60, 3), dtype=np.uint8))


def test_one_or_several_images() -> None:
    model = PanopticModel(Halves())
    results = model([NOISE, Image.fromarray(NOISE[:10]), torch.from_numpy(NOISE).permute(2, 0, 1)])
    assert [r.panoptic.shape for r in results] == [(40, 60), (10, 60), (40, 60)]
    assert model([]) == [] and len(model((NOISE,))) == 1


def test_every_source_gives_the_same(tiny_config: Path, weights: Path, tmp_path: Path) -> None:
    model = load(tiny_config, overrides=["MODEL.WEIGHTS", str(weights)])
    path = tmp_path / "image.png"
    Image.fromarray(NOISE).save(path)
    results = model([path, str(path), path.read_bytes(), Image.open(path), NOISE])
    cfg = load_config(str(tiny_config), ["MODEL.WEIGHTS", str(weights)])
    expected, segments = Predictor(cfg).panoptic(NOISE)
    assert len(segments) > 0
    for result in results:
        assert (result.panoptic == expected).all()
        assert {s.id for s in result.segments} == {s["id"] for s in segments}


def test_a_checkpoint_with_its_config(tiny_config: Path, weights: Path) -> None:
    with pytest.raises(UserError, match="model_final.pth has no config.yaml beside it"):
        load(weights)
    overrides = ["MODEL.WEIGHTS", str(weights)]
    (weights.parent / "config.yaml").write_text(load_config(str(tiny_config)).dump())
    expected = load(tiny_config, overrides=overrides)(NOISE)
    assert (load(weights)(NOISE).panoptic == expected.panoptic).all()


def test_a_config_after_its_training(tiny_config: Path, weights: Path) -> None:
    overrides = ["OUTPUT_DIR", str(weights.parent), "MODEL.WEIGHTS", ""]
    assert load(tiny_config, overrides=overrides)(NOISE).segments
    weights.unlink()
    with pytest.raises(ConfigError, match="model_final.pth does not exist"):
        load(tiny_config, overrides=overrides)


def test_a_confidence_threshold(tiny_config: Path, weights: Path) -> None:
    overrides = ["MODEL.WEIGHTS", str(weights)]
    counts = []
    for threshold in (0, 1):
        model = load(tiny_config, overrides=overrides, confidence_threshold=threshold)
        assert model.confidence_threshold == threshold
        counts.append(sum(s.isthing for s in model(NOISE).segments))
    assert counts[0] > counts[1] == 0
    model.confidence_threshold = 0.0
    assert sum(s.isthing for s in model(NOISE).segments) == counts[0]


@pytest.mark.parametrize("words", [[], ["MODEL.SEM_SEG_HEAD.NAME", ""]])
def test_a_confidence_threshold_of_a_call(
    tiny_config: Path, weights: Path, words: List[str]
) -> None:
    words = ["MODEL.WEIGHTS", str(weights), *words]
    expected = {
        threshold: load(tiny_config, overrides=words, confidence_threshold=threshold)(NOISE)
        for threshold in (0.0, 1.0)
    }
    assert (expected[0.0].panoptic != expected[1.0].panoptic).any()
    model = load(tiny_config, overrides=words, confidence_threshold=1.0)

    def check(threshold: Optional[float]) -> None:
        found = model(NOISE, confidence_threshold=threshold)
        assert (found.panoptic == expected[1.0 if threshold is None else threshold].panoptic).all()

    # In turns, and from several threads at once.
    thresholds = [None, 0.0, None, 1.0, 0.0] * 3
    for threshold in thresholds:
        check(threshold)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check, thresholds))
    assert model.confidence_threshold == 1.0


def test_whose_threshold() -> None:
    predictor = Halves()
    first, second = PanopticModel(predictor), PanopticModel(predictor)
    assert first.confidence_threshold == 0.5
    first.confidence_threshold = 0.2
    assert (first.confidence_threshold, second.confidence_threshold) == (0.2, 0.5)
    for model, words, expected in (
        (first, {}, 0.2),
        (second, {}, None),
        (first, {"confidence_threshold": 0.0}, 0.0),
        (first, {}, 0.2),
    ):
        model(NOISE, **words)
        assert predictor.threshold == expected
    for wrong in (-0.1, 50):
        with pytest.raises(UserError, match=rf"threshold is {wrong}; it is in \[0, 1\]"):
            first(NOISE, confidence_threshold=wrong)
        with pytest.raises(UserError, match=rf"threshold is {wrong}; it is in \[0, 1\]"):
            first.confidence_threshold = wrong


@pytest.mark.parametrize(
    "precision, in_config, expected",
    [("bf16", False, True), ("fp32", True, False), (None, True, True)],
)
def test_a_precision(
    tiny_config: Path, weights: Path, precision: Optional[str], in_config: bool, expected: bool
) -> None:
    overrides = ["MODEL.WEIGHTS", str(weights), "TEST.AMP.ENABLED", str(in_config)]
    model = load(tiny_config, overrides=overrides, precision=precision)
    formats = []
    network = model.predictor.model.backbone
    network.register_forward_hook(lambda *_: formats.append(torch.is_autocast_enabled("cpu")))
    model(NOISE)
    assert formats == [expected]


def test_the_threshold_of_a_model_without_a_semantic_head(tiny_config: Path, weights: Path) -> None:
    words = ["MODEL.WEIGHTS", str(weights), "MODEL.SEM_SEG_HEAD.NAME", ""]
    model = load(tiny_config, overrides=words, confidence_threshold=0.0)
    assert model(NOISE).segments
    model.confidence_threshold = 1.0
    assert not model(NOISE).segments


def test_the_model_that_comes_with_the_package() -> None:
    """Small enough to ship; sees in the sample what a person sees."""
    assert sum(path.stat().st_size for path in SHIPPED_MODEL.iterdir()) <= 15 * 2**20
    result = load(device="cpu")(SAMPLE_IMAGE)
    things = [s.category for s in result.segments if s.isthing]
    assert things.count("person") == 3 and {"car", "truck", "bus", "rider", "motorcycle"} <= set(
        things
    )
    stuff = {s.category for s in result.segments if not s.isthing}
    assert {"road", "building", "vegetation", "sky", "pole"} <= stuff
    assert (result.panoptic > 0).mean() > 0.9


# Resident memory, in arrays of 400 MB, that is still there when one was freed behind a prediction.
_FREED = """
import sys
import numpy as np
from effps_solo import keep_freed_memory, load
if sys.argv[1] == "kept":
    assert keep_freed_memory()
model = load(device="cpu")
model(np.zeros((64, 96, 3), np.uint8))
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
before = resident()
array = np.ones(400 * 2**20, np.uint8)
del array
print((resident() - before) / (400 * 2**20))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
@pytest.mark.parametrize("name, share", [("given back", 0.0), ("kept", 1.0)])
def test_the_memory_of_the_users_process(project_root: Path, name: str, share: float) -> None:
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("MALLOC_", "GLIBC_TUNABLES"))
    }
    run = subprocess.run(
        [sys.executable, "-c", _FREED, name],
        capture_output=True,
        text=True,
        cwd=project_root,
        env=environment,
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) == pytest.approx(share, abs=0.3)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("none.yaml", {}, "none.yaml does not exist"),
        ("none.onnx", {}, "none.onnx does not exist"),
        ("model.txt", {}, "model.txt is no model: its name must end in one of .yaml"),
        ("none.onnx", {"device": "cuda"}, "none.onnx is exported"),
        ("none.onnx", {"backend": "torch"}, "the backend 'torch' does not read .*onnx or openvino"),
        ("none.yaml", {"backend": "onnx"}, "for the backend 'onnx' export it"),
        ("none.onnx", {"precision": "bf16"}, "none.onnx can run in bf16 with the backend openvino"),
        ("none.xml", {"precision": "int4"}, r"is 'int4'; choose one of \['fp32', 'bf16'\]"),
        ("none.yaml", {"confidence_threshold": 50}, r"threshold is 50; it is in \[0, 1\]"),
        ("none.yaml", {"precision": "fp16"}, r"is 'fp16'; choose one of \['fp32', 'bf16'\]"),
    ],
)
def test_mistakes(tmp_path: Path, name: str, options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path / name, **options)


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Pretend that these are not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name in modules else find(name, *a)
    )


@pytest.mark.parametrize(
    ("missing", "files", "backend", "expected"),
    [
        ((), ["model.onnx", "model.xml"], None, "torch"),
        (("torch", "detectron2"), ["model.onnx", "model.xml"], None, "model.onnx"),
        (("torch", "onnxruntime"), ["model.onnx", "model.xml"], None, "model.xml"),
        (("torch", "onnxruntime"), ["model.onnx"], None, "model.onnx"),  # OpenVINO reads it
        (("detectron2",), ["model.pt2"], None, "model.pt2"),
        ((), ["model.onnx", "model.xml"], "openvino", "model.xml"),
        ((), ["model.pt2"], "torch", "torch"),
        (
            ("torch",),
            [],
            None,
            "needs torch and Detectron2, which are .*effps-solo export --model",
        ),
        (("torch",), ["other.onnx"], None, "needs torch and Detectron2"),
        (("torch", "onnxruntime", "openvino"), ["model.onnx"], None, "needs .* pip install onnx"),
        ((), ["model.xml"], "onnx", "has no exported file for the backend 'onnx'; make one"),
    ],
)
def test_what_a_model_folder_runs_in(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: Tuple[str, ...],
    files: List[str],
    backend: Optional[str],
    expected: str,
) -> None:
    for name in (*files, "model.safetensors", "classes.json"):
        (tmp_path / name).touch()
    opened: List[str] = []

    def open_one(path: Path, *_: Any) -> Halves:
        opened.append("torch" if path.is_dir() else path.name)
        return Halves()

    for name in ("load_exported", "_torch_predictor"):
        monkeypatch.setattr(f"effps_solo.inference.load.{name}", open_one)
    without(monkeypatch, *missing)
    if expected == "torch" or expected in files:
        load(tmp_path, backend=backend)
        assert opened == [expected]
        return
    with pytest.raises(UserError, match=expected):
        load(tmp_path, backend=backend)


def test_a_folder_that_is_no_model(tmp_path: Path, lively_model: Path) -> None:
    (tmp_path / "empty").mkdir()
    message = r"empty is no model folder: it has no model.safetensors and classes.json$"
    with pytest.raises(UserError, match=message):
        load(tmp_path / "empty")
    with pytest.raises(UserError, match="moved is no model folder: .*; .*moved/model is one"):
        load(lively_model.parent)  # an OUTPUT_DIR


def test_a_checkpoint_that_does_not_name_its_classes_needs_its_data(
    tiny_config: Path, weights: Path, tiny_set: Path
) -> None:
    (weights.parent / "config.yaml").write_text(load_config(str(tiny_config)).dump())
    tiny_set.rename(tiny_set.with_name("elsewhere"))
    with pytest.raises(
        UserError,
        match="model_final.pth does not name its classes, and the data set of its training, which does, is "
        "not here: .*effps-solo pack --config-file CONFIG",
    ):
        load(weights)


@pytest.mark.parametrize(
    "source, message",
    [
        (b"no image", "the given image cannot be read"),
        (b"", "the given image cannot be read"),
        (None, "an image cannot be a NoneType"),
        (np.zeros((4, 4, 2), np.uint8), r"array of shape \(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), r"array of shape \(0, 4, 3\)"),
        (np.zeros((4, 4, 3)), "array of float64"),
        (torch.zeros(4, 4, 3), r"tensor of shape \(4, 4, 3\)"),
        (torch.full((3, 4, 4), 2.0), r"values in \[0, 1\], not 2 .. 2"),
        (torch.full((3, 4, 4), 300), r"a tensor of torch.int64; give uint8"),
        (torch.full((3, 4, 4), float("nan")), r"values in \[0, 1\], not nan"),
    ],
)
def test_what_is_no_image(source: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        PanopticModel(Halves())(source)


def test_kinds_of_arrays() -> None:
    model = PanopticModel(Halves())
    grey = NOISE[..., 0]
    alpha = np.dstack([NOISE, grey])
    wide = grey.astype(np.uint16) * 256 + 9
    for source in (grey, grey[..., None], wide):
        assert (model(source).image == np.dstack([grey] * 3)).all()
    assert (model(alpha).image == NOISE).all()
    pixels = torch.from_numpy(NOISE).permute(2, 0, 1) / 255
    assert (model(pixels).image == NOISE).all()
    assert (model(pixels.bfloat16()).image.astype(int) - NOISE <= 1).all()


def test_nothing_heavy_is_imported_for_exported_models(project_root: Path) -> None:
    code = (
        "import sys; from effps_solo import load\n"
        "try: load('none.onnx')\n"
        "except ValueError as error: print(error)\n"
        "print({'torch', 'detectron2'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=project_root
    )
    assert run.stdout.splitlines() == ["none.onnx does not exist", "set()"], run.stderr
