"""PQ against numbers worked out by hand and against panopticapi driven by Detectron2."""

import csv
import json
import math
from pathlib import Path
from typing import Any, Callable, Dict, List

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOPanopticEvaluator
from PIL import Image

from effps_solo.evaluation.panoptic import PanopticEvaluator
from effps_solo.structures.panoptic_png import ids_to_rgb, read_segment_ids

Record = Dict[str, Any]
CONTIGUOUS = {"person": 0, "car": 1, "road": 2, "sky": 3}
COCO_CATEGORIES = (
    {"id": 21, "isthing": 0},
    {"id": 7, "isthing": 1},
    {"id": 90, "isthing": 0},
    {"id": 3, "isthing": 1},
)


def _segment(segment_id: int, name: str) -> Record:
    return {"id": segment_id, "category_id": CONTIGUOUS[name], "isthing": name in ("person", "car")}


@pytest.fixture
def hand_worked(write_coco: Callable[..., str]) -> str:
    """8 x 12: two persons of 12 pixels on a road of 48; the lowest two rows are void."""
    ids = np.full((8, 12), 1)
    ids[:2], ids[6:] = 0, 0
    ids[2:6] = 1
    ids[2:5, 0:4], ids[2:5, 6:10] = 2, 3
    segments = [
        {"id": 1, "category_id": 21},
        {"id": 2, "category_id": 7},
        {"id": 3, "category_id": 7},
    ]
    return write_coco({1: ids}, {1: segments})


def _hand_prediction(record: Record) -> Record:
    """Person 2 shifted by one column: 9 of 12 pixels, IoU 9/15; person 3 is lost in the road."""
    ids = torch.full((8, 12), 7, dtype=torch.int32)
    ids[:2], ids[6:] = 0, 0
    ids[2:5, 1:5] = 9
    return {"panoptic_seg": (ids, [_segment(7, "road"), _segment(9, "person")])}


def test_hand_worked(hand_worked: str, tmp_path: Path, evaluate: Callable[..., Any]) -> None:
    evaluator = PanopticEvaluator(hand_worked, str(tmp_path / "out"))
    scores = evaluate(evaluator, hand_worked, _hand_prediction)["panoptic_seg"]
    # person: TP 1 with IoU 9 / (12 + 12 - 9) = 0.6, FN 1; PQ = 0.6 / 1.5.
    assert scores["PQ-person"] == pytest.approx(40.0)
    assert (scores["SQ_th"], scores["RQ_th"]) == pytest.approx((60.0, 100 / 1.5))
    # road: truth 48 - 24 = 24 pixels, predicted 48 - 12 = 36; common 24 - 3 = 21; union 39.
    assert scores["PQ-road"] == pytest.approx(100 * 21 / 39)
    assert scores["PQ_st"] == scores["PQ-road"]
    # Classes that do not occur count nowhere.
    assert math.isnan(scores["PQ-car"]) and math.isnan(scores["PQ-sky"])
    assert scores["PQ"] == pytest.approx((40.0 + 100 * 21 / 39) / 2)


def test_half_is_no_match(hand_worked: str, tmp_path: Path, evaluate: Callable[..., Any]) -> None:
    def half(record: Record) -> Record:
        ids = torch.zeros(8, 12, dtype=torch.int32)
        ids[2:5, 0:2] = 9
        return {"panoptic_seg": (ids, [_segment(9, "person")])}

    evaluator = PanopticEvaluator(hand_worked, str(tmp_path / "out"))
    scores = evaluate(evaluator, hand_worked, half)["panoptic_seg"]
    assert (scores["PQ_th"], scores["SQ_th"], scores["RQ_th"]) == (0.0, 0.0, 0.0)


def test_as_detectron2(coco_name: str, tmp_path: Path, evaluate: Callable[..., Any]) -> None:
    """Random blocks over ground truth without names that repeat, which Detectron2 mixes up."""
    records = [dict(r, file_name=f"{r['image_id']}.png") for r in DatasetCatalog.get(coco_name)]
    DatasetCatalog[coco_name] = lambda: records

    def noisy(record: Record) -> Record:
        generator = np.random.default_rng(record["image_id"])
        with Image.open(record["pan_seg_file_name"]) as image:
            rgb = np.array(image).astype(np.int64)
        ids = rgb[..., 0] + 256 * rgb[..., 1] + 65536 * rgb[..., 2]
        names = list(CONTIGUOUS)
        segments = {
            s["id"]: _segment(s["id"], names[s["category_id"]]) for s in record["segments_info"]
        }
        for extra in range(1000, 1004):
            y, x = generator.integers(0, 12, 2)
            ids[y : y + 4, x : x + 6] = extra
            segments[extra] = _segment(extra, names[extra % 4])
        present = np.unique(ids)
        kept = [segment for key, segment in segments.items() if key in present]
        return {"panoptic_seg": (torch.from_numpy(ids).int(), kept)}

    ours = evaluate(PanopticEvaluator(coco_name, str(tmp_path / "a")), coco_name, noisy)
    theirs = evaluate(COCOPanopticEvaluator(coco_name, str(tmp_path / "b")), coco_name, noisy)
    expected = theirs["panoptic_seg"]
    assert len(expected) == 9 and 10 < expected["PQ"] < 95
    assert {key: ours["panoptic_seg"][key] for key in expected} == pytest.approx(expected)


@pytest.mark.parametrize("isthing", [0, 1])
def test_a_kind_of_class_that_the_data_set_lacks(
    write_coco: Callable[..., str], tmp_path: Path, evaluate: Callable[..., Any], isthing: int
) -> None:
    name = write_coco(
        {1: np.full((4, 4), 9)},
        {1: [{"id": 9, "category_id": 5}]},
        categories=[{"id": 5, "name": "all", "isthing": isthing}],
    )
    segment = {"id": 1, "category_id": 0, "isthing": bool(isthing)}
    ids = torch.ones(4, 4, dtype=torch.int32)
    evaluator = PanopticEvaluator(name, str(tmp_path / "out"))
    scores = evaluate(evaluator, name, lambda r: {"panoptic_seg": (ids, [segment])})["panoptic_seg"]
    assert scores["PQ"] == scores["PQ-all"] == pytest.approx(100.0)
    assert math.isnan(scores["PQ_st" if isthing else "PQ_th"])


def test_numpy_values_in_segments_info(
    hand_worked: str, tmp_path: Path, evaluate: Callable[..., Any]
) -> None:
    def with_numpy(record: Record) -> Record:
        ids, segments = _hand_prediction(record)["panoptic_seg"]
        for segment in segments:
            segment.update(
                isthing=np.bool_(segment["isthing"]),
                score=torch.tensor(0.5),
                id=np.int64(segment["id"]),
            )
        return {"panoptic_seg": (ids, segments)}

    evaluator = PanopticEvaluator(hand_worked, str(tmp_path / "out"))
    scores = evaluate(evaluator, hand_worked, with_numpy)["panoptic_seg"]
    assert scores["PQ-person"] == pytest.approx(40.0)
    saved = json.loads((tmp_path / "out" / "predictions.json").read_text())["annotations"]
    assert [s["category_id"] for s in saved[0]["segments_info"]] == [21, 7]


def test_missing_prediction(coco_name: str, tmp_path: Path, perfect: Callable[..., Record]) -> None:
    evaluator = PanopticEvaluator(coco_name, str(tmp_path / "out"))
    evaluator.reset()
    record = DatasetCatalog.get(coco_name)[0]
    evaluator.process([record], [perfect(coco_name, record)])
    with pytest.raises(ValueError, match="1 images of .*panoptic_val.json have no prediction.* 9"):
        evaluator.evaluate()


def test_prediction_of_another_size(
    hand_worked: str, tmp_path: Path, evaluate: Callable[..., Any]
) -> None:
    wrong = {"panoptic_seg": (torch.ones(5, 7, dtype=torch.int32), [_segment(1, "road")])}
    evaluator = PanopticEvaluator(hand_worked, str(tmp_path / "out"))
    with pytest.raises(ValueError, match="same.png and the prediction for image 1 cannot be"):
        evaluate(evaluator, hand_worked, lambda record: wrong)


def test_the_table_names_every_class(
    hand_worked: str, tmp_path: Path, evaluate: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="effps_solo")
    evaluate(PanopticEvaluator(hand_worked, str(tmp_path / "out")), hand_worked, _hand_prediction)
    for word in ["Things", "Stuff", *MetadataCatalog.get(hand_worked).thing_classes]:
        assert word in caplog.text


def _random_image(rng: np.random.Generator, segments: List[Record]) -> np.ndarray:
    """Blocks of random segments, which may vanish below each other; 0 is void."""
    ids = np.zeros((24, 32), dtype=np.int64)
    for segment in rng.permutation(np.array([0, *(s["id"] for s in segments)])):
        y, x = rng.integers(0, (20, 28))
        ids[y : y + rng.integers(2, 20), x : x + rng.integers(2, 24)] = segment
    return ids


def _random_segments(rng: np.random.Generator, crowds: bool) -> List[Record]:
    numbers = rng.choice(np.arange(1, 90000), 9, replace=False).tolist()
    found = []
    for number in numbers:
        category = COCO_CATEGORIES[int(rng.integers(4))]
        crowd = int(crowds and category["isthing"] and rng.random() < 0.3)
        found.append({"id": number, "category_id": category["id"], "iscrowd": crowd})
    return found


@pytest.fixture
def random_truth(write_coco: Callable[..., str]) -> str:
    """Thirty images of random blocks with crowds and void."""
    rng = np.random.default_rng(5)
    images, segments = {}, {}
    for image_id in range(1, 31):
        drawn = _random_segments(rng, crowds=True)
        images[image_id] = _random_image(rng, drawn)
        present = set(np.unique(images[image_id]).tolist())
        segments[image_id] = [segment for segment in drawn if segment["id"] in present]
    return write_coco(images, segments)


def _random_prediction(record: Record) -> Record:
    """The truth with some segments moved, added and of another class."""
    rng = np.random.default_rng(record["image_id"])
    truth = read_segment_ids(record["pan_seg_file_name"]).astype(np.int64)
    classes = {s["id"]: s["category_id"] for s in record["segments_info"]}
    classes.update({100000 + k: int(rng.integers(4)) for k in range(3)})
    ids = np.roll(truth, tuple(rng.integers(-2, 3, 2)), (0, 1))
    for extra in (100000, 100001, 100002, 0):
        y, x = rng.integers(0, (20, 28))
        ids[y : y + 5, x : x + 6] = extra
    for key in list(classes):
        if rng.random() < 0.15:
            classes[key] = int(rng.integers(4))
    names = list(CONTIGUOUS)
    segments = [_segment(int(key), names[classes[int(key)]]) for key in np.unique(ids) if key]
    return {"panoptic_seg": (torch.from_numpy(ids).int(), segments)}


def _panopticapi(name: str, folder: Path, image_ids: Any = None) -> Any:
    """(PQStat, categories) of panopticapi over files that this function writes itself."""
    from panopticapi.evaluation import pq_compute_single_core

    metadata = MetadataCatalog.get(name)
    truth = json.loads(Path(metadata.panoptic_json).read_text())
    dataset_id = {v: k for k, v in metadata.thing_dataset_id_to_contiguous_id.items()}
    dataset_id.update({v: k for k, v in metadata.stuff_dataset_id_to_contiguous_id.items()})
    records = {record["image_id"]: record for record in DatasetCatalog.get(name)}
    folder.mkdir(exist_ok=True)
    pairs = []
    for annotation in truth["annotations"]:
        image_id = annotation["image_id"]
        if image_ids is not None and image_id not in image_ids:
            continue
        ids, segments = _random_prediction(records[image_id])["panoptic_seg"]
        Image.fromarray(ids_to_rgb(ids.numpy())).save(folder / f"{image_id}.png")
        info = [{"id": s["id"], "category_id": dataset_id[s["category_id"]]} for s in segments]
        predicted = {"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": info}
        pairs.append((annotation, predicted))
    categories = {category["id"]: category for category in truth["categories"]}
    statistics = pq_compute_single_core(0, pairs, metadata.panoptic_root, str(folder), categories)
    return statistics, categories


def test_as_panopticapi_to_nine_digits(
    random_truth: str, tmp_path: Path, evaluate: Callable[..., Any]
) -> None:
    evaluator = PanopticEvaluator(random_truth, str(tmp_path / "out"))
    scores = evaluate(evaluator, random_truth, _random_prediction)["panoptic_seg"]
    statistics, categories = _panopticapi(random_truth, tmp_path / "theirs")
    for suffix, isthing in (("", None), ("_th", True), ("_st", False)):
        average, per_class = statistics.pq_average(categories, isthing=isthing)
        for measure in ("pq", "sq", "rq"):
            ours = scores[f"{measure.upper()}{suffix}"]
            assert ours == pytest.approx(100 * average[measure], rel=0, abs=1e-9)
        for key, expected in per_class.items():
            ours = scores[f"PQ-{categories[key]['name']}"]
            assert ours == pytest.approx(100 * expected["pq"], rel=0, abs=1e-9)
    assert 20 < scores["PQ"] < 90


def test_every_image_as_panopticapi(
    random_truth: str, tmp_path: Path, evaluate: Callable[..., Any]
) -> None:
    evaluator = PanopticEvaluator(random_truth, str(tmp_path / "out"))
    evaluate(evaluator, random_truth, _random_prediction)
    with open(tmp_path / "out" / "panoptic_per_image.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    qualities = [float(row["PQ"]) for row in rows]
    assert qualities == sorted(qualities) and len(set(qualities)) > 10
    for row in rows[::7]:
        image_id = int(row["image_id"])
        assert row["file_name"] == f"{image_id}/same.jpg"
        statistics, categories = _panopticapi(random_truth, tmp_path / "theirs", [image_id])
        average, _ = statistics.pq_average(categories, isthing=None)
        for measure in ("pq", "sq", "rq"):
            assert float(row[measure.upper()]) == pytest.approx(100 * average[measure], abs=1e-4)
        counted = sum(statistics[key].tp for key in categories)
        assert int(row["TP"]) == counted
