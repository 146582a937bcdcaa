"""mIoU and AP of COCO layout against numbers worked out by hand."""

import json
import math
import os
from pathlib import Path
from typing import Any, Callable, Dict, Tuple
from unittest import mock

import numpy as np
import pycocotools.mask as mask_util
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from effps_solo.evaluation import build_evaluator, coco
from effps_solo.evaluation.coco import (
    build_instance_evaluator,
    build_semantic_evaluator,
    derive_instances,
    semantic_labels,
)

Record = Dict[str, Any]
VOID = 255


def folders(folder: Path, limit: int = 100) -> Tuple[str, int, str]:
    """The arguments of an instance evaluator behind the name of the data set."""
    return str(folder / "out"), limit, str(folder / "instances")


def test_semantic_labels(coco_name: str) -> None:
    first = DatasetCatalog.get(coco_name)[0]
    labels = semantic_labels(first["pan_seg_file_name"], first["segments_info"], VOID)
    expected = np.full((24, 20), VOID)
    expected[:8], expected[8:16, :10], expected[8:16, 10:16], expected[16:22] = 3, 1, 0, 2
    assert np.array_equal(labels, expected)
    assert (semantic_labels(first["pan_seg_file_name"], [], VOID) == VOID).all()


def test_miou_ignores_void(
    coco_name: str, perfect: Callable[..., Record], evaluate: Callable[..., Any]
) -> None:
    def sky_everywhere(record: Record) -> Record:
        sem_seg = torch.zeros_like(perfect(coco_name, record)["sem_seg"])
        sem_seg[3] = 1
        return {"sem_seg": sem_seg}

    scores = evaluate(
        build_semantic_evaluator(coco_name, DatasetCatalog.get(coco_name)),
        coco_name,
        sky_everywhere,
    )["sem_seg"]
    sky = 8 * 20 + 6 * 28
    labelled = sky + 8 * 10 + 8 * 6 + 6 * 20 + 6 * 9 + 6 * 8
    assert scores["IoU-sky"] == pytest.approx(100 * sky / labelled)
    assert scores["mIoU"] == pytest.approx(100 * sky / labelled / 4)
    assert not [key for key in scores if "Boundary" in key]


def test_derived_instances(coco_name: str) -> None:
    content = derive_instances(MetadataCatalog.get(coco_name), DatasetCatalog.get(coco_name))
    assert content["categories"] == [{"id": 7, "name": "person"}, {"id": 3, "name": "car"}]
    assert content["images"] == [
        {"id": 4, "height": 24, "width": 20},
        {"id": 9, "height": 16, "width": 28},
    ]
    rows = [
        (a["id"], a["image_id"], a["category_id"], a["iscrowd"], a["area"], a["bbox"])
        for a in content["annotations"]
    ]
    assert rows == [
        (1, 4, 3, 0, 80, [0, 8, 10, 8]),
        (2, 4, 7, 0, 48, [10, 8, 6, 8]),
        (3, 9, 7, 0, 54, [0, 6, 9, 6]),
        (4, 9, 7, 1, 48, [12, 6, 8, 6]),
    ]
    mask = mask_util.decode(content["annotations"][1]["segmentation"])
    assert mask[8:16, 10:16].all() and mask.sum() == 48


def test_ap_by_hand(
    coco_name: str, tmp_path: Path, perfect: Callable[..., Record], evaluate: Callable[..., Any]
) -> None:
    """One of two persons is found: precision 1 up to recall 1/2; the car is a false class."""

    def partly(record: Record) -> Record:
        instances = perfect(coco_name, record)["instances"]
        if record["image_id"] == 9:
            instances = instances[:0]
        instances.pred_classes[:] = 0
        return {"instances": instances}

    evaluator = build_instance_evaluator(
        coco_name, DatasetCatalog.get(coco_name), *folders(tmp_path)
    )
    scores = evaluate(evaluator, coco_name, partly)["segm"]
    assert scores["AP-car"] == 0.0
    # The mask of the car has the lower score: precision 1 at the recall points 0 .. 0.50 of 101.
    assert scores["AP-person"] == pytest.approx(100 * 51 / 101)


def test_at_most_so_many_detections(
    write_coco: Callable[..., str], tmp_path: Path, perfect: Callable[..., Record], evaluate: Any
) -> None:
    """Of twenty persons at most as many are found as may be named."""
    ids = np.arange(1, 21).repeat(9).reshape(20, 9)
    name = write_coco({1: ids}, {1: [{"id": i, "category_id": 7} for i in range(1, 21)]})

    def run(limit: int) -> float:
        evaluator = build_instance_evaluator(
            name, DatasetCatalog.get(name), *folders(tmp_path, limit)
        )
        value: float = evaluate(evaluator, name, lambda r: perfect(name, r))["segm"]["AP-person"]
        return value

    assert run(20) == pytest.approx(100.0)
    # Recall points 0 .. 0.75 of 101.
    assert run(15) == pytest.approx(100 * 76 / 101)


def test_a_crowd_may_be_found_or_not(
    coco_name: str, tmp_path: Path, perfect: Callable[..., Record], evaluate: Callable[..., Any]
) -> None:
    def with_crowd(record: Record) -> Record:
        instances = perfect(coco_name, record)["instances"]
        if record["image_id"] == 9:
            instances = type(instances).cat([instances, instances])
            instances.pred_masks[1] = False
            instances.pred_masks[1, 6:12, 12:16] = True
            instances.scores[1] = 0.99
        return {"instances": instances}

    evaluator = build_instance_evaluator(
        coco_name, DatasetCatalog.get(coco_name), *folders(tmp_path)
    )
    assert evaluate(evaluator, coco_name, with_crowd)["segm"]["AP"] == pytest.approx(100.0)


def test_nothing_to_find_is_unknown(
    write_coco: Callable[..., str], tmp_path: Path, perfect: Callable[..., Record], evaluate: Any
) -> None:
    name = write_coco({1: np.full((4, 4), 9)}, {1: [{"id": 9, "category_id": 21}]})
    evaluator = build_instance_evaluator(name, DatasetCatalog.get(name), *folders(tmp_path))
    assert math.isnan(evaluate(evaluator, name, lambda r: perfect(name, r))["segm"]["AP"])


def test_things_that_do_not_come_first(
    coco_name: str, cfg: CfgNode, perfect: Callable[..., Record], evaluate: Callable[..., Any]
) -> None:
    """The same data with contiguous ids road 0, person 1, sky 2, car 3."""
    new_id = {0: 1, 1: 3, 2: 0, 3: 2}
    records = DatasetCatalog.get(coco_name)
    for segment in [s for record in records for s in record["segments_info"]]:
        segment["category_id"] = new_id[segment["category_id"]]
    metadata = MetadataCatalog.get(coco_name).as_dict()
    names = ["road", "person", "sky", "car"]
    metadata.update(
        name="offset",
        thing_classes=names,
        stuff_classes=names,
        thing_dataset_id_to_contiguous_id={7: 1, 3: 3},
        stuff_dataset_id_to_contiguous_id={21: 0, 90: 2},
    )
    MetadataCatalog.get("offset").set(**metadata)
    DatasetCatalog.register("offset", lambda: records)
    results = evaluate(build_evaluator(cfg, "offset"), "offset", lambda r: perfect("offset", r))
    assert results["panoptic_seg"]["PQ"] == pytest.approx(100.0)
    assert results["sem_seg"]["mIoU"] == pytest.approx(100.0)
    assert results["segm"]["AP-person"] == pytest.approx(100.0)
    assert results["segm"]["AP-car"] == pytest.approx(100.0)


def test_instances_are_derived_once(coco_name: str, tmp_path: Path) -> None:
    _, _, folder = (Path(str(word)) for word in folders(tmp_path))
    build_instance_evaluator(coco_name, DatasetCatalog.get(coco_name), *folders(tmp_path))
    (made,) = folder.iterdir()
    before = made.stat().st_mtime_ns
    build_instance_evaluator(coco_name, DatasetCatalog.get(coco_name), *folders(tmp_path))
    assert list(folder.iterdir()) == [made]
    assert made.stat().st_mtime_ns == before
    os.utime(MetadataCatalog.get(coco_name).panoptic_json, ns=(1, 1))
    build_instance_evaluator(coco_name, DatasetCatalog.get(coco_name), *folders(tmp_path))
    assert len(list(folder.iterdir())) == 2


def test_evaluations_with_other_folders_share_the_instances(
    cfg: CfgNode, coco_name: str, tmp_path: Path
) -> None:
    """As those of the model and of its average are during training."""
    with mock.patch.object(coco, "derive_instances", wraps=derive_instances) as derive:
        build_evaluator(cfg, coco_name)
        build_evaluator(cfg, coco_name, str(tmp_path / "output" / "inference_ema" / coco_name))
    derive.assert_called_once()
    (made,) = (tmp_path / "output").glob("**/*.json")
    assert made.parent == tmp_path / "output" / "instances" and made.name.startswith(coco_name)


def test_views_leave_the_catalogs(cfg: CfgNode, coco_name: str) -> None:
    before = set(DatasetCatalog), set(MetadataCatalog)
    build_evaluator(cfg, coco_name)
    assert (set(DatasetCatalog), set(MetadataCatalog)) == before


def test_stuff_only(
    cfg: CfgNode, write_coco: Callable[..., str], perfect: Callable[..., Record], evaluate: Any
) -> None:
    name = write_coco(
        {1: np.full((4, 4), 9)},
        {1: [{"id": 9, "category_id": 5}]},
        categories=[{"id": 5, "name": "all", "isthing": 0}],
    )
    results = evaluate(build_evaluator(cfg, name), name, lambda r: perfect(name, r))
    assert set(results) == {"panoptic_seg", "sem_seg"}
    assert results["sem_seg"]["mIoU"] == pytest.approx(100.0)


def test_instances_that_the_data_set_names(
    coco_name: str, tmp_path: Path, perfect: Callable[..., Record], evaluate: Callable[..., Any]
) -> None:
    """Published figures are of annotations that overlap, and of images that are not judged here."""
    metadata, records = MetadataCatalog.get(coco_name), DatasetCatalog.get(coco_name)
    content = derive_instances(metadata, records)
    content["images"].append({"id": 77, "height": 16, "width": 28})
    hidden = {**content["annotations"][0], "id": 50, "bbox": [0, 0, 4, 4], "area": 16}
    mask = np.zeros((24, 20), dtype=np.uint8, order="F")
    mask[:4, :4] = 1
    rle = mask_util.encode(mask)
    hidden["segmentation"] = {"size": rle["size"], "counts": rle["counts"].decode()}
    content["annotations"] += [hidden, {**hidden, "id": 51, "image_id": 77}]
    metadata.json_file = str(tmp_path / "instances.json")

    def ap() -> float:
        evaluator = build_instance_evaluator(coco_name, records, *folders(tmp_path))
        return evaluate(evaluator, coco_name, lambda r: perfect(coco_name, r))["segm"]["AP-car"]

    assert ap() == pytest.approx(100)  # the file is not there
    Path(metadata.json_file).write_text(json.dumps(content))
    assert ap() == pytest.approx(100 * 51 / 101)  # one car of two, that of image 77 not counted
