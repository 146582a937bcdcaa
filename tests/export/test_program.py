"""Exported files in their real runtimes, in a process without torch and Detectron2."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
from PIL import Image

from effps_solo.__main__ import main
from effps_solo.checkpoint.checkpointer import EffPSCheckpointer
from effps_solo.engine import load_config
from effps_solo.errors import ConfigError
from effps_solo.export import check_formats, describe
from effps_solo.meta_arch import EfficientPS
from effps_solo.predictor import Predictor

RUN = """
import json, sys
import numpy as np
from PIL import Image
from effps_solo.runtime import load_exported
predictor = load_exported(sys.argv[1], threads=1)
for name in sys.argv[2:]:
    panoptic_seg, segments = predictor.panoptic(np.asarray(Image.open(name)))
    np.save(name + ".npy", panoptic_seg)
    print(json.dumps(segments))
print(json.dumps([name for name in ("torch", "detectron2") if name in sys.modules]))
"""
SCORE = ["MODEL.PANOPTIC_FUSION.SCORE_THRESH", "0.05", "MODEL.OUTPUTS", "('panoptic_seg',)"]


def _run(path: Path, images: List[Path]) -> List[Any]:
    words = [sys.executable, "-c", RUN, str(path), *map(str, images)]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def _check(
    found: List[Dict[str, Any]], panoptic_seg: np.ndarray, predictor: Predictor, image: Path
) -> None:
    expected, segments = predictor.panoptic(np.asarray(Image.open(image)))
    assert panoptic_seg.dtype == np.int32
    agreement = float((panoptic_seg == expected.numpy()).mean())
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
    generator = np.random.default_rng(0)
    images = []
    for number, size in enumerate([(50, 91), (50, 91)]):
        images.append(tmp_path / f"{number}.png")
        Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(images[-1])

    files = [tmp_path / "model.onnx", tmp_path / "model.xml", tmp_path / "model.pt2"]
    common = ["export", "--config-file", str(tiny_config), "--output"]
    fixed = [*common, *map(str, files), "--image-size", "50", "91", "--opts", *words]
    assert main(fixed) == 0
    predictor = Predictor(load_config(str(tiny_config), words))
    for path in files:
        first, second, loaded = _run(path, images)
        assert loaded == (["torch"] if path.suffix == ".pt2" else [])
        assert len(first) > 5
        for found, image in zip((first, second), images):
            _check(found, np.load(f"{image}.npy"), predictor, image)


def test_describe(tiny_config: Path) -> None:
    cfg = load_config(str(tiny_config), ["INPUT.TEST_SCALE", "1.5"])
    description = describe(cfg, (50, 91), "tiny.yaml")
    assert description.input_size == (75, 136) and description.output_size == (50, 91)
    assert [c.name for c in description.classes if c.isthing] == ["person", "car"]


def test_formats() -> None:
    check_formats([Path("a.onnx"), Path("b.xml"), Path("c.pt2")])
    with pytest.raises(ConfigError, match="--output b.engine: the name must end in .onnx, .xml"):
        check_formats([Path("a.onnx"), Path("b.engine")])


def test_nothing_is_loaded_for_a_wrong_name(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "--config-file", "missing.yaml", "--output", "model.pb"]
    words += ["--image-size", "50", "91"]
    assert main(words) == 2
    assert "--output model.pb: the name must end in" in capsys.readouterr().err
