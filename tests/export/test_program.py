"""Exported files in their real runtimes, in a process without torch and Detectron2."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Dict, List, Set, Tuple

import numpy as np
import pytest
from PIL import Image

from effps_solo.__main__ import main
from effps_solo.checkpoint.checkpointer import EffPSCheckpointer
from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.export import compared_with_torch, describe, program
from effps_solo.export.quantization import quantized, write_quantized_onnx
from effps_solo.inference.exported import load_exported
from effps_solo.inference.exported.sessions import EXPORTED_SUFFIXES
from effps_solo.inference.load import SAMPLE_IMAGE, SHIPPED_MODEL, load
from effps_solo.inference.model_config import load_model_config
from effps_solo.inference.predictor import Predictor
from effps_solo.inference.result import PanopticResult
from effps_solo.modeling.meta_arch import EfficientPS
from effps_solo.structures.panoptic_png import read_segment_ids
from effps_solo.utils.errors import ConfigError

RUN = """
import json, sys
import numpy as np
from PIL import Image
from effps_solo.inference.result import PanopticResult
from effps_solo.inference.exported import load_exported
predictor = load_exported(sys.argv[1], threads=1, backend=sys.argv[2] or None, precision="fp32")
for name in sys.argv[3:]:
    panoptic_seg, segments = predictor.panoptic(np.asarray(Image.open(name)))
    np.save(name + ".npy", panoptic_seg)
    print(json.dumps(segments))
print(json.dumps([name for name in ("torch", "detectron2") if name in sys.modules]))
"""
DEMO = """
import sys
from effps_solo.__main__ import main
status = main(["predict", *sys.argv[1:]])
print(status, [name for name in ("torch", "detectron2", "pycocotools") if name in sys.modules])
"""
SCORE = ["MODEL.PANOPTIC_FUSION.SCORE_THRESH", "0.05", "MODEL.OUTPUTS", "('panoptic_seg',)"]


def _run(path: Path, images: List[Path], backend: str = "") -> List[Any]:
    return [json.loads(line) for line in _lines(RUN, path, backend, *images)]


def _lines(program: str, *words: object) -> List[str]:
    """What ``program`` prints in a new process."""
    command = [sys.executable, "-c", program, *map(str, words)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def _write_noise(folder: Path, sizes: List[Tuple[int, int]]) -> List[Path]:
    generator = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(len(sizes))]
    for path, size in zip(paths, sizes):
        Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return paths


def _check(
    found: List[Dict[str, Any]], panoptic_seg: np.ndarray, predictor: Predictor, image: Path
) -> None:
    expected, segments = predictor.panoptic(np.asarray(Image.open(image)))
    assert panoptic_seg.dtype == np.int32
    agreement = float((panoptic_seg == expected).mean())
    assert agreement > 0.999, agreement
    assert [(s["id"], s["category_id"], s["isthing"]) for s in found] == [
        (s["id"], s["category_id"], s["isthing"]) for s in segments
    ]
    assert [s["score"] for s in found] == pytest.approx([s["score"] for s in segments], abs=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_files_give_what_the_model_gives(
    tiny_config: Path, lively_model: Callable[..., EfficientPS], tmp_path: Path
) -> None:
    """Images whose sides are no multiples of 32, resized."""
    EffPSCheckpointer(lively_model(), str(tmp_path)).save("model")
    words = [*SCORE, "MODEL.WEIGHTS", str(tmp_path / "model.pth"), "INPUT.TEST_SCALE", "1.5"]
    images = _write_noise(tmp_path, [(50, 91), (50, 91)])
    files = [tmp_path / f"model{suffix}" for suffix in EXPORTED_SUFFIXES]
    common = ["export", "--config-file", str(tiny_config), "--output"]
    fixed = [*common, *map(str, files), "--image-size", "50", "91", "--opts", *words]
    assert main(fixed) == 0
    predictor = Predictor(load_config(str(tiny_config), words))
    for path, backend in [*((path, "") for path in files), (files[0], "openvino")]:
        first, second, loaded = _run(path, images, backend)
        assert loaded == (["torch"] if path.suffix == ".pt2" else [])
        assert len(first) > 5
        for found, image in zip((first, second), images):
            _check(found, np.load(f"{image}.npy"), predictor, image)
    _check_demo(files[0], images, tmp_path / "predictions")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scale, suffixes", [("1.0", EXPORTED_SUFFIXES), ("2.0", (".onnx",))])
def test_one_file_for_images_of_any_size(
    tiny_config: Path,
    lively_model: Callable[..., EfficientPS],
    tmp_path: Path,
    scale: str,
    suffixes: Tuple[str, ...],
) -> None:
    EffPSCheckpointer(lively_model(), str(tmp_path)).save("model")
    words = [*SCORE, "MODEL.WEIGHTS", str(tmp_path / "model.pth"), "INPUT.TEST_SCALE", scale]
    images = _write_noise(tmp_path, [(96, 128), (160, 97), (219, 350), (101, 150), (96, 50)])
    files = [tmp_path / f"model{suffix}" for suffix in suffixes]
    common = ["export", "--config-file", str(tiny_config), "--any-size", "--output"]
    # torch.compile has no say in what is exported.
    assert main([*common, *map(str, files), "--opts", *words, "TEST.COMPILE", "True"]) == 0
    predictor = Predictor(load_config(str(tiny_config), words))
    for path, backend in [*((path, "") for path in files), (files[0], "openvino")]:
        *found, _ = _run(path, images, backend)
        for segments, image in zip(found[:4], images):
            assert len(segments) > 5
            _check(segments, np.load(f"{image}.npy"), predictor, image)
        padded = np.load(f"{images[4]}.npy")  # to the least width
        assert padded.shape == (96, 50)
        assert sum(s["area"] for s in found[4]) == (padded > 0).sum()


@pytest.mark.slow
def test_maps_keep_their_layout(project_root: Path, tmp_path: Path) -> None:
    """OpenVINO rearranges no map as large as the stride-4 map but the logits of the classes.

    That the mask features are cut into tiles is no change of the layout.
    """
    openvino = pytest.importorskip("openvino")
    config = project_root / "configs" / "quickstart" / "effps_lite0_solov2.yaml"
    cfg, path = load_config(str(config), ["MODEL.WEIGHTS", ""]), tmp_path / "model.xml"
    described = describe(cfg, (192, 256), config.name)
    model = Trainer.build_model(cfg).eval()
    program.save(program.trace(model, described, cfg), described, [path])
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", hints)
    moved = []
    for operation in compiled.get_runtime_model().get_ordered_ops():
        kind = operation.get_rt_info()["layerType"].astype(str)
        name = operation.get_friendly_name()
        # "fake": the same memory under another name. Constants are what coordinates add, and small.
        if (
            kind in ("Reorder", "Transpose")
            and not name.endswith("_fake")
            and name[:8] != "Constant"
        ):
            shape = operation.get_output_partial_shape(0)
            if shape.is_static and np.prod(shape.to_shape()) >= 8 * 48 * 64:
                moved.append(tuple(shape.to_shape()))
    num_classes = len(described.classes)
    assert (1, num_classes, 48, 64) in moved
    assert set(moved) <= {(1, num_classes, 48, 64), (2, 2, 32, 32, 64)}
    assert len(moved) <= 3


def _check_demo(model: Path, images: List[Path], output: Path) -> None:
    """Without torch; an image of another shape is skipped."""
    wrong = images[0].with_name("wrong.png")
    Image.new("RGB", (60, 60)).save(wrong)
    words = [
        "--model",
        model,
        "--backend",
        "openvino",
        "--precision",
        "fp32",
        "--output",
        output,
        "--input",
    ]
    labels = ["--labels", "coco", "--simplify", "1", "--unsure-void", "0.01"]
    *messages, last = _lines(DEMO, *labels, *words, *images, wrong)
    assert last == "1 []"
    assert any("wrong.png: the image has 60x60 pixels" in message for message in messages)
    for image in images:
        ids = read_segment_ids(str(output / f"{image.stem}_panoptic.png"))
        assert ids.shape == (50, 91) and ids.any()
    content = json.loads((output / "instances.json").read_text())
    assert {a["image_id"] for a in content["annotations"]} == {i["id"] for i in content["images"]}


def test_describe(tiny_config: Path) -> None:
    cfg = load_config(str(tiny_config), ["INPUT.TEST_SCALE", "1.5"])
    description = describe(cfg, (50, 91), "tiny.yaml")
    assert description.input_size == (75, 137) and description.output_size == (50, 91)
    assert [c.name for c in description.classes if c.isthing] == ["person", "car"]


@pytest.mark.parametrize(
    "scale, least", [("1.0", 96), ("1.25", 77), ("1.5", 64), ("2.0", 48), ("1.1", 88)]
)
def test_any_size(tiny_config: Path, scale: str, least: int) -> None:
    """Worked by hand: the network's sides are 96 at least."""
    description = describe(
        load_config(str(tiny_config), ["INPUT.TEST_SCALE", scale]), None, "tiny.yaml"
    )
    assert description.input_size is None and description.output_size is None
    assert description.size_divisor == 1 and description.min_side == least
    assert description.padding == (128, 128, 128)  # the mean, 127.5


@pytest.mark.parametrize(
    "words, sizes",
    [
        (["INPUT.TEST_SCALE", "0.5"], "INPUT.TEST_SCALE is 0.5, which makes images smaller"),
        (["INPUT.BASE_SHORTEST_EDGE", "48"], r"\(99, 163\) to \(48, 79\)"),
    ],
)
def test_configs_that_want_one_size(tiny_config: Path, words: List[str], sizes: str) -> None:
    with pytest.raises(ConfigError, match=f"--any-size: .*{sizes}.*--image-size"):
        describe(load_config(str(tiny_config), words), None, "tiny.yaml")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_int8(tmp_path: Path) -> None:
    """The model of the package: convolutions in 8 bits, the rest as it is, nearly the same map."""
    openvino = pytest.importorskip("openvino")
    onnx = pytest.importorskip("onnx")
    paths = [tmp_path / "int8.onnx", tmp_path / "int8.xml"]
    words = ["--model", str(SHIPPED_MODEL), "--image-size", "256", "512", "--output"]
    assert main(["export", *words, *map(str, paths), "--int8", str(SAMPLE_IMAGE)]) == 0
    expected, predictor = load()(SAMPLE_IMAGE), Predictor(load_model_config(SHIPPED_MODEL))
    for path in paths:
        (line,) = compared_with_torch([path], predictor, [SAMPLE_IMAGE])
        assert re.search(
            r"MB\) takes \d+ ms an image \(torch: \d+ ms\); of the pixels 9\d", line
        ), line
        assert load_exported(path).description.precision == "int8"
        found = load(path)(SAMPLE_IMAGE)
        assert (_class_map(expected) == _class_map(found)).mean() > 0.96
        assert _sure_things(expected) == _sure_things(found)

    inputs: Dict[str, Set[str]] = {}
    for operation in openvino.Core().read_model(paths[1]).get_ordered_ops():
        if operation.get_input_size():
            source = operation.input_value(0).get_node().get_type_name()
            inputs.setdefault(operation.get_type_name(), set()).add(source)
    assert (
        inputs["GroupConvolution"] == {"FakeQuantize"} and "FakeQuantize" in inputs["Convolution"]
    )
    assert inputs["MatMul"] and "FakeQuantize" not in inputs["MatMul"]

    nodes = list(onnx.load(paths[0]).graph.node)
    makers = {name: node.op_type for node in nodes for name in node.output}
    weights = [makers.get(node.input[1]) for node in nodes if node.op_type == "Conv"]
    assert weights.count("DequantizeLinear") > 100 and None in weights  # of the last convolutions
    assert "DequantizeLinear" not in {makers[n.input[0]] for n in nodes if n.op_type == "MatMul"}


def _class_map(result: PanopticResult) -> np.ndarray:
    category = np.full(int(result.panoptic.max()) + 1, -1)
    for segment in result.segments:
        category[segment.id] = segment.category_id
    return category[result.panoptic]


def _sure_things(result: PanopticResult) -> Set[str]:
    """Classes of those that are no matter of chance."""
    return {s.category for s in result.segments if s.isthing and s.score > 0.4}


def test_int8_is_not_for_torch(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "--config-file", "missing.yaml", "--output", "model.pt2"]
    assert main([*words, "--image-size", "50", "91", "--int8", "photos"]) == 2
    assert "--output model.pt2: --int8 is for .onnx and .xml" in capsys.readouterr().err


def test_int8_without_images(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="--int8 names no image"):
        quantized(None, [], None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="--int8 names no image"):
        write_quantized_onnx("", "", [], None)  # type: ignore[arg-type]
    words = ["export", "--model", str(SHIPPED_MODEL), "--output", "model.xml", "--any-size"]
    assert main([*words, "--int8"]) == 2
    assert "--int8 names no image, and a model knows none" in capsys.readouterr().err


def test_a_runtime_that_is_not_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(path: Path) -> None:
        raise ModuleNotFoundError("No module named 'onnxruntime'")

    monkeypatch.setattr("effps_solo.export.verification.load_exported", missing)
    path = tmp_path / "m.onnx"
    path.write_bytes(bytes(2_000_000))
    predictor = SimpleNamespace(image_format="RGB")
    (line,) = compared_with_torch([path], predictor)  # type: ignore[arg-type]
    assert line == f"{path} (2.0 MB) was not tried: No module named 'onnxruntime'"
    monkeypatch.undo()
    (line,) = compared_with_torch([path], predictor)  # type: ignore[arg-type]
    assert line.startswith(f"{path} (2.0 MB) does not work: {path} cannot be opened")


def test_torch_files_need_no_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnx", "onnxscript", "openvino", "nncf"):
        monkeypatch.setitem(sys.modules, name, None)
    importlib.reload(program)


def test_nothing_is_loaded_for_a_wrong_name(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "--config-file", "missing.yaml", "--output", "model.pb"]
    words += ["--image-size", "50", "91"]
    assert main(words) == 2
    assert "--output model.pb: the name must end in" in capsys.readouterr().err
