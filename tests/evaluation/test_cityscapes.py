"""mIoU and AP of the layout of Cityscapes by cityscapesscripts."""

import math
from pathlib import Path
from typing import Any, Callable, Dict

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.evaluation import CityscapesInstanceEvaluator, CityscapesSemSegEvaluator

from effps_solo.evaluation.cityscapes import CityscapesMaskEvaluator, CityscapesSemanticEvaluator

Record = Dict[str, Any]
CAR = 13


def test_one_of_two_cars(
    cityscapes_name: str, tmp_path: Path, perfect: Callable[..., Record], evaluate: Any
) -> None:
    def partly(record: Record) -> Record:
        return {"instances": perfect(cityscapes_name, record)["instances"][:1]}

    evaluator = CityscapesMaskEvaluator(cityscapes_name, str(tmp_path / "out"))
    scores = evaluate(evaluator, cityscapes_name, partly)["segm"]
    # Person: all found. Car: precision 1 up to recall 1/2.
    assert (scores["AP"], scores["AP50"]) == pytest.approx((75.0, 75.0))
    assert (scores["AP-person"], scores["AP-car"]) == pytest.approx((100.0, 50.0))
    assert math.isnan(scores["AP-train"])
    assert len(scores) == 2 + 8


def test_wrong_class(
    cityscapes_name: str, tmp_path: Path, perfect: Callable[..., Record], evaluate: Any
) -> None:
    def all_cars(record: Record) -> Record:
        instances = perfect(cityscapes_name, record)["instances"]
        instances.pred_classes[:] = CAR
        return {"instances": instances}

    evaluator = CityscapesMaskEvaluator(cityscapes_name, str(tmp_path / "out"))
    scores = evaluate(evaluator, cityscapes_name, all_cars)["segm"]
    # Cars with scores 0.5 and 1, the person as a car with 0.5: precision 2/3 at recall 1, 1 at
    # recall 1/2 and 0. The script weighs each point with half the distance of its neighbours.
    assert scores["AP"] == pytest.approx(100 * (2 / 3 / 4 + 1 / 2 + 1 / 4) / 2)


def test_miou_by_hand(cityscapes_name: str, tmp_path: Path, evaluate: Callable[..., Any]) -> None:
    def road_everywhere(record: Record) -> Record:
        size = (48, 96) if record["image_id"].endswith("0") else (64, 40)
        sem_seg = torch.zeros(19, *size)
        sem_seg[0] = 1
        return {"sem_seg": sem_seg}

    evaluator = CityscapesSemanticEvaluator(cityscapes_name, str(tmp_path / "out"))
    scores = evaluate(evaluator, cityscapes_name, road_everywhere)["sem_seg"]
    cars, sky, people = 18 * 16 + 18 * 20, 10 * 96, 20 * 12 + 20 * 14
    road = 30 * 96 - cars
    building = 64 * 40 - people
    total = road + cars + sky + building + people
    # Road, sky, car, building, person occur; void (8 rows) does not count.
    assert scores["mIoU"] == pytest.approx(100 * road / total / 5)
    assert scores["mIoU"] == scores["IoU"]
    assert scores["IoU-road"] == pytest.approx(100 * road / total)
    assert scores["IoU-car"] == 0.0 and math.isnan(scores["IoU-truck"])
    assert len([key for key in scores if key.startswith("IoU-")]) == 19


def test_image_without_prediction(
    cityscapes_name: str, tmp_path: Path, perfect: Callable[..., Record]
) -> None:
    evaluator = CityscapesMaskEvaluator(cityscapes_name, str(tmp_path / "out"))
    evaluator.reset()
    record = DatasetCatalog.get(cityscapes_name)[0]
    evaluator.process([record], [perfect(cityscapes_name, record)])
    with pytest.raises(RuntimeError, match="Found no prediction for ground truth .*town_000000"):
        evaluator.evaluate()


@pytest.mark.parametrize(
    ("kind", "base"),
    [
        (CityscapesMaskEvaluator, CityscapesInstanceEvaluator),
        (CityscapesSemanticEvaluator, CityscapesSemSegEvaluator),
    ],
)
@pytest.mark.parametrize("method", ["process", "evaluate"])
def test_broken_imports_in_detectron2(
    cityscapes_name: str,
    tmp_path: Path,
    perfect: Callable[..., Record],
    evaluate: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: Any,
    base: Any,
    method: str,
) -> None:
    def broken(*args: Any) -> None:
        raise ImportError("no such script")

    monkeypatch.setattr(base, method, broken)
    evaluator = kind(cityscapes_name, str(tmp_path / "out"))
    result = evaluate(evaluator, cityscapes_name, lambda r: perfect(cityscapes_name, r))
    assert result is None
    assert "no such script" in caplog.text


def test_a_second_round_starts_anew(
    cityscapes_name: str, tmp_path: Path, perfect: Callable[..., Record], evaluate: Any
) -> None:
    evaluator = CityscapesMaskEvaluator(cityscapes_name, str(tmp_path / "out"))
    for keep, expected in ((0, 0.0), (9, 100.0)):
        predict = lambda r: {"instances": perfect(cityscapes_name, r)["instances"][:keep]}  # noqa
        scores = evaluate(evaluator, cityscapes_name, predict)["segm"]
        assert scores["AP"] == pytest.approx(expected)
