"""The evaluation of exported models, with sessions whose answers are known."""

import dataclasses
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from effps_solo.config import load_config
from effps_solo.evaluation.exported import evaluate_exported
from effps_solo.export import describe
from effps_solo.inference.exported import ExportedPredictor
from effps_solo.report import open_run
from effps_solo.utils.errors import UserError
from effps_solo.utils.image_io import read_image

pytestmark = pytest.mark.usefixtures("fresh_loggers")

NUM_ROWS = 6
CAR = 1  # contiguous id


@pytest.fixture
def cfg(tiny_config: Path) -> CfgNode:
    return load_config(str(tiny_config), ["MODEL.OUTPUTS", "['panoptic_seg']"])


class KnowsTheTruth:
    """A session that answers every image of the data set with its ground truth, but for one class."""

    def __init__(self, perfect: Callable[..., Dict[str, Any]], without: int = -1) -> None:
        self.answers: Dict[bytes, List[np.ndarray]] = {}
        for record in DatasetCatalog.get("tiny_val"):
            ids, segments = perfect("tiny_val", record)["panoptic_seg"]
            segments = [s for s in segments if s["category_id"] != without]
            panoptic_seg = np.zeros(ids.shape, dtype=np.int32)
            classes = np.full(NUM_ROWS, -1)
            for row, segment in enumerate(segments):
                panoptic_seg[ids.numpy() == segment["id"]] = row + 1
                classes[row] = segment["category_id"]
            areas = np.bincount(panoptic_seg.ravel(), minlength=NUM_ROWS + 1)[1:]
            table = [classes, np.ones(NUM_ROWS), areas, classes >= 0]
            key = read_image(record["file_name"], "RGB").tobytes()
            self.answers[key] = [panoptic_seg, *table]

    def __call__(self, image: np.ndarray) -> List[np.ndarray]:
        return self.answers[image.tobytes()]


def evaluate(cfg: CfgNode, session: Any, **changes: Any) -> Dict[str, Any]:
    description = dataclasses.replace(describe(cfg, (64, 96), "tiny.yaml"), **changes)
    return evaluate_exported(cfg, ExportedPredictor(session, description))


def test_the_truth_has_a_pq_of_100(cfg: CfgNode, perfect: Callable[..., Any]) -> None:
    results = evaluate(cfg, KnowsTheTruth(perfect))
    assert set(results) == {"panoptic_seg"}
    assert results["panoptic_seg"]["PQ"] == 100 and results["panoptic_seg"]["PQ-person"] == 100
    record = open_run(Path(cfg.OUTPUT_DIR)).record
    assert len(record.images) == 2


def test_one_class_of_four_is_missed(cfg: CfgNode, perfect: Callable[..., Any]) -> None:
    scores = evaluate(cfg, KnowsTheTruth(perfect, without=CAR))["panoptic_seg"]
    names = ["PQ", "PQ_th", "PQ_st", "PQ-car", "PQ-person"]
    assert [scores[name] for name in names] == [75, 50, 100, 0, 100]


def test_a_model_with_the_classes_in_another_order(
    cfg: CfgNode, perfect: Callable[..., Any]
) -> None:
    order = [2, 0, 3, 1]  # the data's id of each class of the model
    truth, classes = KnowsTheTruth(perfect), describe(cfg, (64, 96), "tiny.yaml").classes

    def session(image: np.ndarray) -> List[np.ndarray]:
        panoptic_seg, category_ids, *rest = truth(image)
        own = np.array([order.index(c) if c >= 0 else -1 for c in category_ids])
        return [panoptic_seg, own, *rest]

    reordered = tuple(classes[c] for c in order)
    assert evaluate(cfg, session, classes=reordered)["panoptic_seg"]["PQ"] == 100
    assert evaluate(cfg, truth, classes=reordered)["panoptic_seg"]["PQ"] < 50


def test_nothing_is_found(cfg: CfgNode) -> None:
    def nothing(image: np.ndarray) -> List[np.ndarray]:
        none = np.zeros(NUM_ROWS, dtype=np.int64)
        return [np.zeros(image.shape[:2], dtype=np.int32), none - 1, none, none, none > 0]

    assert evaluate(cfg, nothing)["panoptic_seg"]["PQ"] == 0


def test_several_data_sets(cfg: CfgNode, perfect: Callable[..., Any]) -> None:
    cfg.DATASETS.TEST = ("tiny_val", "tiny_train")
    results = evaluate(cfg, KnowsTheTruth(perfect))
    assert {name: tasks["panoptic_seg"]["PQ"] for name, tasks in results.items()} == {
        "tiny_val": 100,
        "tiny_train": 100,
    }


def test_mistakes(cfg: CfgNode) -> None:
    def never(image: np.ndarray) -> List[np.ndarray]:
        raise AssertionError("no image should have been looked at")

    with pytest.raises(
        UserError, match=r"'tiny_val' has the classes .* person.*; the model .* for $"
    ):
        evaluate(cfg, never, classes=())
    with pytest.raises(
        UserError, match="the image has 64x96 pixels.*exported for 64x64.*--image-size"
    ):
        evaluate(cfg, never, output_size=(64, 64))
    cfg.DATASETS.TEST = ("tiny_vale",)
    with pytest.raises(UserError, match="'tiny_vale' is not registered; .*tiny_val"):
        evaluate(cfg, never)
