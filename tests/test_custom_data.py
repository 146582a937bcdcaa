"""A data set of one's own, from its description to results: any ids, only stuff, only things."""

import json
import math
from pathlib import Path
from typing import Any, Callable, Dict, Mapping

import pytest

pytestmark = pytest.mark.usefixtures("fresh_loggers")

Results = Dict[str, Dict[str, float]]
# Neither ordered nor in one piece, from 0 to beyond 255.
ODD_IDS = {21: 0, 7: 70000, 90: 5, 3: 300}


@pytest.fixture
def train_changed(
    tiny_set: Path, tiny_config: Path, train: Callable[..., Results]
) -> Callable[..., Results]:
    """Changes the categories of the tiny set, describes it in a file, trains twice, evaluates."""
    (tiny_set / "set.yaml").write_text("name: described")

    def run(change: Callable[[Dict[str, Any]], Any], *words: str) -> Results:
        for path in tiny_set.glob("panoptic_*.json"):
            content = json.loads(path.read_text())
            change(content)
            path.write_text(json.dumps(content))
        overrides: Mapping[str, str] = {
            "DATASETS.PANOPTIC.NAME": "",
            "DATASETS.DESCRIPTIONS": f"('{tiny_set}/set.yaml',)",
            "DATASETS.TRAIN": "('described_train',)",
            "DATASETS.TEST": "('described_val',)",
            "MODEL.SEM_SEG_HEAD.NUM_CLASSES": "-1",
            "MODEL.INSTANCE_HEAD.NUM_CLASSES": "-1",
            "MODEL.PANOPTIC_FUSION.VOID_UNCLAIMED_THINGS": "False",
            "INPUT.CROP_OBJECT_PROB": "0.5",
            "DATALOADER.SAMPLER_TRAIN": "RepeatFactorTrainingSampler",
        }
        arguments = ["--config-file", str(tiny_config), *words]
        arguments += [word for pair in overrides.items() for word in pair]
        return train(*arguments)

    return run


def _set_ids(content: Dict[str, Any]) -> None:
    segments = [s for a in content["annotations"] for s in a["segments_info"]]
    for entry, key in [(c, "id") for c in content["categories"]] + [
        (s, "category_id") for s in segments
    ]:
        entry[key] = ODD_IDS[entry[key]]


def _set_kind(isthing: int) -> Callable[[Dict[str, Any]], None]:
    def change(content: Dict[str, Any]) -> None:
        for category in content["categories"]:
            category["isthing"] = isthing

    return change


def test_any_ids(train_changed: Callable[..., Results], tmp_path: Path) -> None:
    results = train_changed(_set_ids)
    assert set(results) == {"panoptic_seg", "sem_seg", "segm"}
    assert {f"PQ-{name}" for name in ("road", "sky", "car", "person")} <= set(
        results["panoptic_seg"]
    )
    folder = tmp_path / "output" / "inference" / "described_val"
    (instances,) = (tmp_path / "output" / "instances").iterdir()
    annotations = json.loads(instances.read_text())["annotations"]
    assert {a["category_id"] for a in annotations} == {70000, 300}
    predictions = json.loads((folder / "predictions.json").read_text())["annotations"]
    classes = {s["category_id"] for p in predictions for s in p["segments_info"]}
    assert classes and classes <= set(ODD_IDS.values())


def test_only_stuff(
    train_changed: Callable[..., Results], caplog: pytest.LogCaptureFixture
) -> None:
    results = train_changed(_set_kind(0))
    assert set(results) == {"panoptic_seg", "sem_seg"}
    scores = results["panoptic_seg"]
    assert math.isfinite(scores["PQ"]) and scores["PQ"] == scores["PQ_st"]
    assert math.isnan(scores["PQ_th"])
    assert math.isfinite(results["sem_seg"]["mIoU"])


@pytest.mark.parametrize("head", ["SOLOv2InstanceHead", "MaskRCNNInstanceHead"])
def test_only_things(train_changed: Callable[..., Results], head: str) -> None:
    results = train_changed(_set_kind(1), "MODEL.INSTANCE_HEAD.NAME", head,
                    "MODEL.ROI_MASK_HEAD.CONV_DIM", "32")  # fmt: skip
    assert set(results) == {"panoptic_seg", "sem_seg", "segm"}
    scores = results["panoptic_seg"]
    assert math.isfinite(scores["PQ"]) and scores["PQ"] == scores["PQ_th"]
    assert math.isnan(scores["PQ_st"])
    assert math.isfinite(results["segm"]["AP"])
