"""From a config to results: both families, all outputs, perfect and empty predictions."""

import copy
import os
import sys
from glob import glob
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from effps_solo.data.build import evaluation_records
from effps_solo.evaluation import build_evaluator
from effps_solo.utils.errors import ConfigError

Record = Dict[str, Any]
FAMILIES = ["coco_name", "cityscapes_name"]
PANOPTIC = [f"{key}{suffix}" for suffix in ("", "_th", "_st") for key in ("PQ", "SQ", "RQ")]


@pytest.fixture(params=FAMILIES)
def name(request: pytest.FixtureRequest) -> str:
    value: str = request.getfixturevalue(request.param)
    return value


def test_ground_truth_is_perfect(
    cfg: CfgNode, name: str, perfect: Callable[..., Record], evaluate: Callable[..., Any]
) -> None:
    results = evaluate(build_evaluator(cfg, name), name, lambda r: perfect(name, r))
    assert set(results) == {"panoptic_seg", "sem_seg", "segm"}
    assert [results["panoptic_seg"][key] for key in PANOPTIC] == pytest.approx([100.0] * 9)
    assert results["sem_seg"]["mIoU"] == pytest.approx(100.0)
    assert results["segm"]["AP"] == pytest.approx(100.0)
    assert results["segm"]["AP50"] == pytest.approx(100.0)
    for scores in results.values():
        assert all(isinstance(float(value), float) for value in scores.values())


@pytest.mark.parametrize("image_id", [3, 2**40, "street 7"])
@pytest.mark.parametrize("stuff", [[70000], []])
def test_any_ids_of_images_and_classes(
    cfg: CfgNode,
    write_coco: Callable[..., str],
    perfect: Callable[..., Record],
    evaluate: Callable[..., Any],
    image_id: Any,
    stuff: List[int],
) -> None:
    categories = [{"id": i, "name": f"class {i}", "isthing": 0} for i in stuff]
    categories += [{"id": i, "name": f"class {i}", "isthing": 1} for i in (300, 0)]
    ids = np.zeros((40, 30), dtype=np.int64)
    ids[:8], ids[8:18], ids[18:28] = 255, 256**2, 1
    segments = [{"id": 256**2, "category_id": 0}, {"id": 1, "category_id": 300}]
    segments.append({"id": 255, "category_id": [*stuff, 300][0]})
    name = write_coco({image_id: ids}, {image_id: segments}, categories=categories)
    results = evaluate(build_evaluator(cfg, name), name, lambda r: perfect(name, r))
    assert set(results) == {"panoptic_seg", "sem_seg", "segm"}
    assert results["panoptic_seg"]["PQ"] == pytest.approx(100.0)
    assert results["sem_seg"]["mIoU"] == pytest.approx(100.0)
    for category in categories:
        assert results["panoptic_seg"][f"PQ-{category['name']}"] == pytest.approx(100.0)
        assert results["sem_seg"][f"IoU-{category['name']}"] == pytest.approx(100.0)
        if category["isthing"]:
            assert results["segm"][f"AP-{category['name']}"] == pytest.approx(100.0)


def test_every_class_has_its_pq(
    cfg: CfgNode, coco_name: str, perfect: Callable[..., Record], evaluate: Callable[..., Any]
) -> None:
    cfg.MODEL.OUTPUTS = ["panoptic_seg"]
    evaluator = build_evaluator(cfg, coco_name)
    scores = evaluate(evaluator, coco_name, lambda r: perfect(coco_name, r))["panoptic_seg"]
    per_class = {key for key in scores if key.startswith("PQ-")}
    assert per_class == {"PQ-road", "PQ-person", "PQ-sky", "PQ-car"}


def test_nothing_found(
    cfg: CfgNode, name: str, perfect: Callable[..., Record], evaluate: Any
) -> None:
    def empty(record: Record) -> Record:
        output = perfect(name, record)
        ids, _ = output["panoptic_seg"]
        return {
            "panoptic_seg": (torch.zeros_like(ids), []),
            "sem_seg": torch.zeros_like(output["sem_seg"]),
            "instances": output["instances"][:0],
        }

    results = evaluate(build_evaluator(cfg, name), name, empty)
    assert [results["panoptic_seg"][key] for key in PANOPTIC] == [0.0] * 9
    assert results["segm"]["AP"] == 0.0
    # All zeros: class 0 everywhere.
    assert 0 < results["sem_seg"]["mIoU"] < 50


@pytest.mark.parametrize(
    ("outputs", "tasks"),
    [
        (["panoptic_seg"], {"panoptic_seg"}),
        (["sem_seg"], {"sem_seg"}),
        (["instances"], {"segm"}),
        (["panoptic_seg", "instances"], {"panoptic_seg", "segm"}),
    ],
)
def test_only_what_the_model_makes(
    cfg: CfgNode,
    name: str,
    perfect: Callable[..., Record],
    evaluate: Callable[..., Any],
    outputs: List[str],
    tasks: Any,
) -> None:
    cfg.MODEL.OUTPUTS = outputs

    def partly(record: Record) -> Record:
        output = perfect(name, record)
        return {key: output[key] for key in outputs}

    assert set(evaluate(build_evaluator(cfg, name), name, partly)) == tasks


def test_outputs_stay_as_they_are(cfg: CfgNode, name: str, perfect: Callable[..., Record]) -> None:
    evaluator = build_evaluator(cfg, name)
    evaluator.reset()
    for record in DatasetCatalog.get(name):
        output = perfect(name, record)
        segments = copy.deepcopy(output["panoptic_seg"][1])
        classes = output["instances"].pred_classes.clone()
        evaluator.process([record], [output])
        assert output["panoptic_seg"][1] == segments
        assert torch.equal(output["instances"].pred_classes, classes)


def test_results_go_to_the_output_folder_alone(
    cfg: CfgNode,
    name: str,
    tmp_path: Path,
    perfect: Callable[..., Record],
    evaluate: Callable[..., Any],
    files_below: Callable[[Path], List[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    before, environment = files_below(tmp_path), dict(os.environ)
    folder = tmp_path / "elsewhere"
    evaluate(build_evaluator(cfg, name, str(folder)), name, lambda r: perfect(name, r))
    new = set(files_below(tmp_path)) - set(before)
    outside = {path for path in new if not path.startswith(str(folder))}
    # Not a result: what is derived from the ground truth, for other evaluations too.
    instances = os.path.join(cfg.OUTPUT_DIR, "instances")
    derived = set(glob(os.path.join(instances, f"{name}_*.json")))
    assert len(derived) == (name == "tiny_val")
    assert outside == ({cfg.OUTPUT_DIR, instances, *derived} if derived else set())
    assert (folder / "predictions.json").is_file()
    assert (folder / "panoptic_per_image.csv").is_file()
    pictures = [path for path in new if path.endswith((".png", ".txt"))]
    assert {os.path.dirname(path) for path in pictures} == {str(folder / "predictions")}
    assert dict(os.environ) == environment


def test_default_folder(cfg: CfgNode, name: str) -> None:
    build_evaluator(cfg, name)
    assert os.path.isdir(os.path.join(cfg.OUTPUT_DIR, "inference", name))


def test_a_data_set_without_panoptic_labels(cfg: CfgNode) -> None:
    MetadataCatalog.get("boxes_only").thing_classes = ["a"]
    with pytest.raises(ConfigError, match="'boxes_only' has no panoptic_json"):
        build_evaluator(cfg, "boxes_only")


def test_pq_without_cityscapes_evaluators(
    cfg: CfgNode,
    cityscapes_name: str,
    perfect: Callable[..., Record],
    evaluate: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(sys.modules, "effps_solo.evaluation.cityscapes", None)
    evaluator = build_evaluator(cfg, cityscapes_name)
    assert "No mIoU and AP" in caplog.text
    results = evaluate(evaluator, cityscapes_name, lambda r: perfect(cityscapes_name, r))
    assert set(results) == {"panoptic_seg"}
    assert results["panoptic_seg"]["PQ"] == pytest.approx(100.0)


def test_a_part_of_a_data_set(
    cfg: CfgNode, name: str, perfect: Callable[..., Record], caplog: pytest.LogCaptureFixture
) -> None:
    """Only one of the two images has a prediction, and only it is judged, by all evaluators."""
    cfg.TEST.MAX_IMAGES = 1
    with caplog.at_level("INFO", "effps_solo"):
        evaluator = build_evaluator(cfg, name)
    assert f"{name} is evaluated on 1 of its images" in caplog.text
    evaluator.reset()
    (record,) = evaluation_records(cfg, name)
    evaluator.process([record], [perfect(name, record)])
    results = evaluator.evaluate()
    scores = {"panoptic_seg": "PQ", "sem_seg": "mIoU", "segm": "AP"}
    assert {task: results[task][key] for task, key in scores.items()} == pytest.approx(
        dict.fromkeys(scores, 100.0)
    )
    folder = os.path.join(cfg.OUTPUT_DIR, "inference", name)
    with open(os.path.join(folder, "panoptic_per_image.csv")) as file:
        assert len(file.read().splitlines()) == 2  # the head, and one image
