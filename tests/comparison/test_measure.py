"""What a model costs, against counts made otherwise."""

import json
from pathlib import Path
from typing import Dict, List

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.utils.analysis import FlopCountAnalysis
from PIL import Image

from effps_solo.comparison import measure
from effps_solo.config import load_config
from effps_solo.engine import Trainer
from effps_solo.utils import machine

pytestmark = pytest.mark.usefixtures("fresh_loggers")


@pytest.fixture
def weights(tiny_config: Path, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = Trainer.build_model(load_config(str(tiny_config)))
    # It finds objects: without one fvcore leaves out the branches that only masks depend on.
    torch.nn.init.constant_(model.instance_head.grid_branches.category_predictor.bias, 1.0)
    path = tmp_path / "model.pth"
    torch.save({"model": model.state_dict()}, path)
    return path


def counts_of_fvcore(config: Path, weights: Path, image: torch.Tensor) -> Dict[str, int]:
    overrides = ["MODEL.OUTPUTS", "['panoptic_seg']", "MODEL.WEIGHTS", str(weights)]
    predictor = measure.Predictor(load_config(str(config), overrides))
    inputs = [{"image": image, "height": image.shape[1], "width": image.shape[2]}]
    analysis = FlopCountAnalysis(predictor.model, inputs)
    analysis.unsupported_ops_warnings(False)
    return dict(analysis.by_operator())


def test_measurements(
    tiny_config: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "some" / "measurement.json"
    kept: List[bool] = []
    monkeypatch.setattr(measure, "keep_freed_memory", lambda: kept.append(True))
    measure.main([str(tiny_config), str(output), "MODEL.WEIGHTS", str(weights)])
    found = json.loads(output.read_text())
    assert kept  # as the command predict does
    state = torch.load(weights, weights_only=True)["model"]
    model = Trainer.build_model(load_config(str(tiny_config)))
    named = [name for name, _ in model.named_parameters()]
    assert found["parameters"] == sum(state[name].numel() for name in named)
    images = [
        torch.from_numpy(np.array(Image.open(record["file_name"]))).permute(2, 0, 1)
        for record in DatasetCatalog.get("tiny_val")
    ]
    expected = [counts_of_fvcore(tiny_config, weights, image) for image in images]
    products = [sum(e.get(k, 0) for k in ("conv", "linear", "matmul", "bmm")) for e in expected]
    assert found["macs"] == pytest.approx(sum(products) / 2, rel=1e-3) and products[0] > 1e6
    assert 0.001 < found["inference_seconds"] < 60
    # torch alone takes more than 100 MiB, and a file cannot be larger than the machine.
    assert 100 * 2**20 < found["peak_memory_bytes"] < 2**40
    assert (found["num_images"], found["device"]) == (2, machine.cpu()["model"])
    assert found["threads"] == torch.get_num_threads()


def test_images_are_spread_over_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "check_dataset_available", lambda name: None)
    for number, expected in ((1, [0]), (3, [0, 1, 2]), (39, list(range(0, 39, 2)))):
        records = [{"file_name": i} for i in range(number)]
        monkeypatch.setattr(measure.DatasetCatalog, "get", lambda name, r=records: r)
        assert measure._choose_images("any") == expected


def test_the_time_is_the_median_behind_a_first_image(
    tiny_config: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([9.0, 0.5, 0.25])  # the first warms up
    monkeypatch.setattr(measure, "_seconds", lambda *_: next(seconds))
    cfg = load_config(str(tiny_config), ["MODEL.WEIGHTS", str(weights)])
    assert measure.measure(cfg)["inference_seconds"] == 0.375


def test_without_a_semantic_head(tiny_config: Path, tmp_path: Path) -> None:
    words = ["MODEL.SEM_SEG_HEAD.NAME", "", "MODEL.OUTPUTS", "['instances']"]
    model = Trainer.build_model(load_config(str(tiny_config), words))
    path = tmp_path / "model.pth"
    torch.save({"model": model.state_dict()}, path)
    cfg = load_config(str(tiny_config), [*words, "MODEL.WEIGHTS", str(path)])
    assert measure.measure(cfg)["macs"] > 1e6
